"""Kicks and moves under load: nobody is cut between QUIT and its reply, or with deletes before the deadline, and no
login of a user who is moved comes to the wrong store.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import PATIENCE, PopClient
from tests.system.test_operating import Site


@contextmanager
def beside(*works: object) -> Iterator[threading.Event]:
    """Each of these works again and again in a thread of its own, until the end of the block; none may fail."""
    over, errors = threading.Event(), []

    def again(work: object) -> None:
        try:
            while not over.is_set():
                work()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=again, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield over
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert errors == []


def kicked(directory: Path, seconds: float) -> Counter[str]:
    """What became of clients that delete, are idle or say QUIT, while their sessions are kicked all the time."""
    site, fared = Site(directory, names=[f"u{number}" for number in range(16)]), list[str]()
    numbers = itertools.count()

    def poll() -> None:
        number = next(numbers)
        with PopClient(site.port) as client:
            if not client.log_in(f"u{number % 16}").startswith(b"+OK"):
                fared.append("refused")
                return
            deletes = number % 2 == 0
            if deletes:
                try:
                    assert client.ask("DELE 1") == b"+OK"
                except (AssertionError, OSError):  # cut before the DELE had come
                    fared.append("cut before DELE")
                    return
            time.sleep(1.2 if number % 8 in (2, 3) else 0.02 * (number % 5))  # who is quiet for a second is idle
            try:
                client.say(b"QUIT\r\n")
                said = client.rest()
            except ConnectionError:
                said = b""
            fared.append(f"{'deletes' if deletes else 'clean'}: {said.decode().strip() or 'cut'}")

    with site.stores[0].backend, site.stores[1].backend, site.proxy:
        kicks = itertools.count()

        def kick() -> None:
            site.proxy.said(f"kick user u{next(kicks) % 16}")

        with beside(*[poll] * 8, *[kick] * 2):
            time.sleep(seconds)
        site.proxy.wait_until_quiet()
        counted = Counter(fared)
        counted["quits that the store has answered"] = len(site.stores[0].quits)
        counted["kicked"] = site.proxy.endings().count("kicked")
    return counted


def assert_none_was_cut(fared: Counter[str]) -> None:
    """Whoever had deleted had his answer to QUIT; and every QUIT that came to the store was answered to the client."""
    assert fared["deletes: +OK bye"] > 0
    assert fared["deletes: cut"] == 0
    answered = fared["deletes: +OK bye"] + fared["clean: +OK bye"]
    assert answered == fared["quits that the store has answered"]
    assert fared["refused"] == 0
    assert fared["kicked"] > 0


def moved(directory: Path, users: int) -> tuple[float, float, int]:
    """Moves so many users while their clients poll: the longest login, the seconds of all moves, and the logins."""
    names = [f"u{number}" for number in range(users)]
    site, seen = Site(directory, names=names), {name: [] for name in names}
    turns, left = itertools.cycle(names), iter(names)
    done: dict[str, float] = {}
    lock = threading.Lock()

    def poll() -> None:
        with lock:
            name = next(turns)
        began = time.monotonic()
        reply = site.tries(name)
        seen[name].append((began, time.monotonic(), reply))

    def move() -> None:
        with lock:
            name = next(left, None)
        if name is None:
            time.sleep(0.1)
            return
        site.proxy.said(f"user move {name} two timeout 30s")
        done[name] = time.monotonic()

    with site.stores[0].backend, site.stores[1].backend, site.proxy:
        began = time.monotonic()
        with beside(*[poll] * 6, *[move] * 4):
            deadline = began + patient(20 + users)
            while len(done) < users and time.monotonic() < deadline:
                time.sleep(0.05)
        seconds = time.monotonic() - began
        assert len(done) == users
        assert {site.tries(name) for name in names[:20]} == {b"+OK two"}
    for name, logins in seen.items():
        stores = [reply for _began, _ended, reply in sorted(logins)]
        assert set(stores) <= {b"+OK one", b"+OK two"}, stores
        late = [reply for begun, _ended, reply in logins if begun > done[name]]
        assert b"+OK one" not in late, "a login reached the old store behind the answer"
        firsts = [ended for _began, ended, reply in logins if reply == b"+OK two"]
        olds = [begun for begun, _ended, reply in logins if reply == b"+OK one"]
        assert not firsts or not olds or max(olds) < min(firsts), "the old store behind the new one"
    everything = [login for logins in seen.values() for login in logins]
    return max(ended - begun for begun, ended, _reply in everything), seconds, len(everything)


def test_kicks_beside_polls(tmp_path: Path) -> None:
    """For a moment."""
    assert_none_was_cut(kicked(tmp_path, patient(2.5)))


def test_a_few_users_are_moved_while_they_poll(tmp_path: Path) -> None:
    """And are refused not once."""
    moved(tmp_path, 8)


@pytest.mark.nightly
def test_kicks_under_a_storm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a minute; shows the figures."""
    fared = kicked(tmp_path, 60.0)
    assert_none_was_cut(fared)
    with capsys.disabled():
        print(f"\n{dict(sorted(fared.items()))}")


@pytest.mark.nightly
def test_a_thousand_users_are_moved_while_they_poll(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shows the longest login, which is the longest hold."""
    longest, seconds, logins = moved(tmp_path, 1000)
    with capsys.disabled():
        print(f"\n1000 users in {seconds:.0f} s, {logins} logins beside, the longest {longest:.2f} s")
