"""Kicks, drains and moves under load: nobody is cut between QUIT and its reply, or with deletes before the deadline,
and no login of a user who is moved comes to the wrong store.
"""

import itertools
import select
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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


@dataclass
class Fared:
    """What became of clients that delete, are idle or say QUIT, while somebody wants them gone again and again."""

    site: Site
    became: list[str] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    """When sessions ended that had deleted mail, and not said QUIT."""
    came_in: list[tuple[float, float]] = field(default_factory=list)
    """When the logins began and ended that were let in."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def poll(self) -> None:
        """One client."""
        number, began = next(self.numbers), time.time()
        deletes, kind = number % 2 == 0, "deletes" if number % 2 == 0 else "clean"
        with PopClient(self.site.port) as client:
            if not client.log_in(f"u{number % 16}").startswith(b"+OK"):
                self.became.append("refused")
                time.sleep(0.05)
                return
            self.came_in.append((began, time.time()))
            if deletes:
                try:
                    assert client.ask("DELE 1") == b"+OK"
                except (AssertionError, OSError):
                    self.became.append("cut before DELE")
                    return
            pause = 2.0 if number % 8 in (2, 3) else 0.02 * (number % 5)  # who is quiet for a second is idle
            if select.select([client.connection], [], [], pause)[0] and deletes:
                self.cuts.append(time.time())
                self.became.append("deletes: cut")
                return
            try:
                client.say(b"QUIT\r\n")
                said = client.rest()
            except ConnectionError:
                said = b""
            if deletes and not said:
                self.cuts.append(time.time())
            self.became.append(f"{kind}: {said.decode().strip() or 'cut'}")

    def counted(self) -> Counter[str]:
        """How often each, with what the store and the table have seen."""
        counted = Counter(self.became)
        counted["quits that the store has answered"] = len(self.site.stores[0].quits)
        for ending in ("drained", "kicked"):
            counted[ending] = self.site.proxy.endings().count(ending)
        return counted


@contextmanager
def storm(directory: Path) -> Iterator[Fared]:
    """Two stores and a proxy."""
    site = Site(directory, names=[f"u{number}" for number in range(16)])
    with site.stores[0].backend, site.stores[1].backend, site.proxy:
        yield Fared(site)


def kicked(directory: Path, seconds: float) -> Counter[str]:
    """What became of them while their sessions are kicked all the time."""
    with storm(directory) as fared:
        kicks = itertools.count()

        def kick() -> None:
            fared.site.proxy.said(f"kick user u{next(kicks) % 16}")

        with beside(*[fared.poll] * 8, *[kick] * 2):
            time.sleep(seconds)
        fared.site.proxy.wait_until_quiet()
        return fared.counted()


class Drain(NamedTuple):
    """One of many: from its answer on nobody may come in, and before the deadline nobody be cut who has deleted."""

    answered: float
    deadline: float
    undrained: float


def drained(directory: Path, what: str, seconds: float) -> Counter[str]:
    """What became of them while a backend or a virtual server is drained again and again, with a deadline of a second;
    every other drain ends before it.
    """
    sort, ident = what.split()
    drains: list[Drain] = []
    with storm(directory) as fared:

        def drain() -> None:
            ordered = time.time()
            fared.site.proxy.said(f"{sort} drain {ident} deadline 1s")
            answered = time.time()
            time.sleep(1.6 if len(drains) % 2 else 0.6)
            drains.append(Drain(answered, ordered + 1, time.time()))
            fared.site.proxy.said(f"{sort} undrain {ident}")
            time.sleep(patient(0.5))

        with beside(*[fared.poll] * 8, drain):
            time.sleep(seconds)
        fared.site.proxy.wait_until_quiet()
        counted = fared.counted()
    early = [cut for cut in fared.cuts for one in drains if one.answered < cut < min(one.deadline, one.undrained)]
    assert early == [], "before the deadline"
    let_in = [one for one in drains for began, ended in fared.came_in if one.answered < began < ended < one.undrained]
    assert let_in == [], "while it was drained"
    counted["drains"] = len(drains)
    return counted


def assert_none_was_cut(fared: Counter[str]) -> None:
    """Whoever had deleted had his answer to QUIT."""
    assert fared["deletes: cut"] == 0
    assert fared["refused"] == 0
    assert fared["kicked"] > 0
    assert_quits_were_answered(fared)


def assert_quits_were_answered(fared: Counter[str]) -> None:
    """Every one that came to the store, to the client."""
    assert fared["deletes: +OK bye"] > 0
    answered = fared["deletes: +OK bye"] + fared["clean: +OK bye"]
    assert answered == fared["quits that the store has answered"]


def moved(directory: Path, users: int) -> tuple[float, float, int]:
    """Moves so many users while their clients poll: the longest login, the seconds of all moves, and the logins."""
    names = [f"u{number}" for number in range(users)]
    site = Site(directory, names=names)
    seen: dict[str, list[Any]] = {name: [] for name in names}
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
@pytest.mark.parametrize("what", ["backend one", "vserv v1"])
def test_drains_under_a_storm(tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    """For a minute; at a deadline deletes are cut too, and a QUIT never. Shows the figures."""
    fared = drained(tmp_path, what, 60.0)
    assert_quits_were_answered(fared)
    assert min(fared["drained"], fared["refused"], fared["deletes: cut"]) > 0
    with capsys.disabled():
        print(f"\n{what}: {dict(sorted(fared.items()))}")


@pytest.mark.nightly
def test_a_thousand_users_are_moved_while_they_poll(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shows the longest login, which is the longest hold."""
    longest, seconds, logins = moved(tmp_path, 1000)
    with capsys.disabled():
        print(f"\n1000 users in {seconds:.0f} s, {logins} logins beside, the longest {longest:.2f} s")
