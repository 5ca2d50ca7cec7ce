"""Thirty backends, five of them sick by turns: what the users of the others notice of it, and how soon all is seen.

Windows of ten seconds, one in which all are well and one in which five are not, so that whatever drifts weighs on both.
One is stopped, one refuses connections, one says [SYS/TEMP], one is slow by three seconds, one comes and goes.
"""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from supervisor.table.contents import DOWN
from supervisor.table.segment import View
from tests.patience import PATIENCE, patient
from tests.system.site import LOOPBACK, Proxy, free_port

USERS = 10
"""Users of each backend; one alone closes none."""
BACKENDS, WINDOW_SECONDS, WINDOWS, LOGINS_A_SECOND = 30, 10.0, 12, 300
STOPPED, REFUSING, TEMP, SLOW, FLAPPING = range(5)
HEALTHY = range(5, BACKENDS)
INTERVAL_SECONDS = 2
FLAP_SECONDS = 2.5


class LoginSeen(NamedTuple):
    """One login: of which backend, when it began (seconds since 1970), how long it took, and what was said."""

    backend: int
    at: float
    seconds: float
    said: bytes


class Stores:
    """The servers: all but the first in one process, and that in one that can be stopped."""

    def __init__(self, alone: "subprocess.Popen[str]", others: "subprocess.Popen[str]") -> None:
        self._alone, self._others = alone, others
        assert alone.stdout is not None
        assert others.stdout is not None
        self.ports = [*map(int, alone.stdout.readline().split()), *map(int, others.stdout.readline().split())]

    def become(self, number: int, mood: str) -> None:
        assert self._others.stdin is not None
        self._others.stdin.write(f"{number - 1} {mood}\n")
        self._others.stdin.flush()

    def fall_ill(self) -> None:
        os.kill(self._alone.pid, signal.SIGSTOP)
        for number, mood in ((REFUSING, "refusing"), (TEMP, "temp"), (SLOW, "slow"), (FLAPPING, "refusing")):
            self.become(number, mood)

    def recover(self) -> None:
        os.kill(self._alone.pid, signal.SIGCONT)
        for number in (REFUSING, TEMP, SLOW, FLAPPING):
            self.become(number, "well")


@contextmanager
def stores() -> Iterator[Stores]:
    with ExitStack() as stack:
        processes = []
        for number in (1, BACKENDS - 1):
            command = [sys.executable, "-m", "tests.system.moodyserver", str(number)]
            pipe = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
            stack.callback(process.kill)
            processes.append(process)
        yield Stores(*processes)


async def log_in(port: int, number: int, place: int) -> LoginSeen:
    """From one of 200 networks. Nothing was said to one that could not even ask."""
    at, began = time.time(), time.monotonic()
    try:
        said = await _answer(port, number, place)
    except (OSError, TimeoutError):
        said = b""
    return LoginSeen(number, at, time.monotonic() - began, said)


async def _answer(port: int, number: int, place: int) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, local_addr=(f"127.0.{place % 200 + 1}.1", 0))
    try:
        async with asyncio.timeout(patient(40)):
            await reader.readline()
            writer.write(b"USER u%d-%d\r\nPASS secret\r\n" % (number, place // BACKENDS % USERS))
            await reader.readline()
            said = await reader.readline()
            writer.write(b"QUIT\r\n")
            return said
    finally:
        writer.close()


class Window(NamedTuple):
    """Some seconds in which all were well, or five were sick; its logins, and when it began."""

    sick: bool
    began: float
    logins: list[LoginSeen]

    def of(self, numbers: Sequence[int]) -> list[LoginSeen]:
        return [one for one in self.logins if one.backend in numbers]


class Watch:
    """What the table says of the backends, looked at ten times a second: since when each is down, in each window."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.turned: dict[str, list[float]] = {}

    def look(self) -> None:
        for one in self._view.healths()["backend"]:
            turned = self.turned.setdefault(one.ident, [])
            if one.condition == DOWN and one.turned not in turned:
                turned.append(one.turned)

    def seen_within(self, number: int, window: Window) -> float | None:
        """How long it took in a window until it was found down."""
        later = [when - window.began for when in self.turned.get(f"b{number}", ()) if when >= window.began]
        return min(later, default=None)


async def storm(port: int, ill: Stores, watch: Watch) -> list[Window]:
    windows: list[Window] = []
    pending: set[asyncio.Task[None]] = set()
    place = 0
    began = time.monotonic()
    for number in range(WINDOWS):
        window = Window(number % 2 == 1, time.time(), [])
        windows.append(window)
        (ill.fall_ill if window.sick else ill.recover)()
        end, looked, flap, is_well = began + (number + 1) * WINDOW_SECONDS, 0.0, time.monotonic(), False
        while (now := time.monotonic()) < end:
            if now - looked >= 0.1:
                watch.look()
                looked = now
            if window.sick and now - flap >= FLAP_SECONDS:
                is_well, flap = not is_well, now
                ill.become(FLAPPING, "well" if is_well else "refusing")
            due = began + place / LOGINS_A_SECOND
            if due > now:
                await asyncio.sleep(due - now)
                continue

            async def one(window: Window = window, place: int = place) -> None:
                window.logins.append(await log_in(port, place % BACKENDS, place))

            task = asyncio.create_task(one())
            pending.add(task)
            task.add_done_callback(pending.discard)
            place += 1
    ill.recover()
    await asyncio.gather(*pending)
    return windows


def figures(logins: Sequence[LoginSeen]) -> tuple[float, float]:
    """Median and 99 %, in milliseconds."""
    seconds = sorted(one.seconds * 1000 for one in logins)
    return statistics.median(seconds), seconds[len(seconds) * 99 // 100]


def report(windows: Sequence[Window], watch: Watch) -> dict[str, tuple[float, float]]:
    """Prints what there is to know; gives median and 99 % of the healthy ones' users by whether the others are well."""
    found = {}
    for name, sick in (("all well", False), ("five sick", True)):
        each = [figures(window.of(HEALTHY)) for window in windows[2:] if window.sick is sick]
        found[name] = statistics.median(one[0] for one in each), statistics.median(one[1] for one in each)
        print(f"users of the healthy, {name}: median {found[name][0]:.2f} ms, 99 % {found[name][1]:.2f} ms")
    for name, number in (("stopped", STOPPED), ("refusing", REFUSING), ("temp", TEMP), ("flapping", FLAPPING)):
        seen = [watch.seen_within(number, window) for window in windows if window.sick]
        told = ["-" if one is None or one > WINDOW_SECONDS else f"{one:.2f}" for one in seen]
        print(f"{name}: found down after {' '.join(told)} s (goal < {2 * INTERVAL_SECONDS})")
        refused = [one for window in windows if window.sick for one in after_seen(window, number, watch)]
        if refused:
            middle, late = figures(refused)
            print(f"  {len(refused)} refused meanwhile: median {middle:.2f}, 99 % {late:.2f} ms (goal < 5)")
        back = [one for one in (until_full(window, number) for window in windows if not window.sick) if one is not None]
        print(f"  back to full service after {' '.join(f'{one:.1f}' for one in back) or '-'} s")
    slow = [one for window in windows if window.sick for one in window.of([SLOW])]
    let_in = sum(one.said[:3] == b"+OK" for one in slow)
    print(f"slow: {len(slow)} logins, {let_in} let in, median {figures(slow)[0]:.0f} ms")
    return found


def after_seen(window: Window, number: int, watch: Watch) -> list[LoginSeen]:
    """Those that were refused after it was found down; a probe, which goes there, takes its time."""
    seen = watch.seen_within(number, window)
    late = window.began + (WINDOW_SECONDS if seen is None else seen + 0.5)
    return [one for one in window.of([number]) if one.at >= late and one.said.startswith(b"-ERR [SYS/TEMP]")]


def until_full(window: Window, number: int) -> float | None:
    """How long after the repair the last login failed; None: none did, or the very last one."""
    logins = sorted(window.of([number]), key=lambda one: one.at)
    failed = [one.at for one in logins if one.said[:3] != b"+OK"]
    return failed[-1] - window.began if failed and failed[-1] < logins[-1].at else None


@pytest.mark.nightly
@pytest.mark.timeout(patient(400))
def test_five_sick_ones_stop_nobody_else(tmp_path: Path) -> None:
    """Everybody else is let in all the time and hardly later; those that are down are seen soon, and their users told
    at once.
    """
    port = free_port()
    users = tmp_path / "users"
    names = [(number, f"u{number}-{user}") for number in range(BACKENDS) for user in range(USERS)]
    users.write_text("".join(f"n:{name}:{{PLAIN}}secret:b{number}:\n" for number, name in names))
    users.chmod(0o600)
    with stores() as ill:
        words = f"state online health greeting healthinterval {INTERVAL_SECONDS} slowstart 1"
        lines = [
            *(f"backend conf b{n} host {LOOPBACK} port {one} {words}" for n, one in enumerate(ill.ports)),
            f"pdm add users passwd {users}",
            f"vserv conf v iface {LOOPBACK} port {port} namespace n state online",
        ]
        with Proxy(tmp_path, lines) as proxy:
            watch = Watch(View.open(proxy.rundir / "pproxy.state"))
            windows = asyncio.run(storm(port, ill, watch))
    assert [one for window in windows for one in window.of(HEALTHY) if one.said[:3] != b"+OK"] == []
    found = report(windows, watch)
    for window in windows:
        if window.sick:
            for number in (REFUSING, STOPPED):
                assert (watch.seen_within(number, window) or PATIENCE) < patient(2 * INTERVAL_SECONDS)
    well, sick = found["all well"], found["five sick"]
    assert sick[0] - well[0] < max(0.05 * well[0], patient(0.5))
