"""A `ringd` of real processes, and a storm of clients that tells whom it lost."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.system.site import LOOPBACK, PATIENCE, Entry, log_entries, wait_until

_STEP_SECONDS = 0.02


class RingDaemon:
    """A running `ringd` for the user of the tests. Use it in a `with` block; it may be ended and started again."""

    def __init__(self, directory: Path, *options: str) -> None:
        """`options` go to the command line; without --user among them it is for ourselves."""
        self.socket = directory / "ringd.ctrl"
        self.logfile = directory / "ringd.log"
        self.stderr = directory / "ringd.stderr"
        user = ["-u", "root"] if os.getuid() == 0 and "-u" not in options else []
        self._command = [sys.executable, "-m", "supervisor.ringd.main", "-s", str(self.socket), "-l", str(self.logfile)]
        self._command += [*user, *options]

    def __enter__(self) -> "RingDaemon":
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            wait_until(self._is_ready, "ringd can be asked")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"ringd ended: {self.stderr.read_text()!r}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def __exit__(self, kind: object, *_exception: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        if kind is None:
            assert (code, self.stderr.read_text()) == (0, "")
            assert not self.socket.exists()

    def log(self, name: str) -> list[Entry]:
        """The entries of its log of one name."""
        return [entry for entry in log_entries(self.logfile) if entry.name == name]


class Visit(NamedTuple):
    """One client: when it came, how it ended, how long it took."""

    began: float
    outcome: str
    seconds: float


class Storm:
    """Clients that connect, wait for the greeting, say QUIT and wait for the answer: so many a second, come what may.

    Outcomes: `served`, `refused` (no connection), `reset` (by RST), `cut` (closed too early), `hung` (no answer).
    """

    def __init__(self, port: int, rate: int = 350) -> None:
        self._port = port
        self._rate = rate
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.visits: list[Visit] = []
        self.seconds = 0.0

    def __enter__(self) -> "Storm":
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join(3 * PATIENCE)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        visits = set()
        sent = 0
        while not self._over.is_set():
            due = int((time.monotonic() - self._began) * self._rate)
            visits |= {asyncio.create_task(self._visit()) for _ in range(due - sent)}
            sent = due
            await asyncio.sleep(_STEP_SECONDS)
        self.seconds = time.monotonic() - self._began
        await asyncio.gather(*visits)

    async def _visit(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(2 * PATIENCE):
                outcome = await self._dialogue()
        except TimeoutError:
            outcome = "hung"
        except ConnectionRefusedError:
            outcome = "refused"
        except OSError:
            outcome = "reset"
        self.visits.append(Visit(began, outcome, time.monotonic() - began))

    async def _dialogue(self) -> str:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            if not (await reader.readline()).startswith(b"+OK"):
                return "cut"
            writer.write(b"QUIT\r\n")
            return "served" if (await reader.readline()).startswith(b"+OK") else "cut"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def blow(self, clients: int) -> None:
        """So many clients more come to an end, however long that takes; some of them began after this was called."""
        wanted = len(self.visits) + clients
        wait_until(lambda: len(self.visits) >= wanted, f"{clients} clients more")

    def outcomes(self, since: float = 0.0) -> dict[str, int]:
        """How many of those that came since then ended how."""
        return dict(Counter(visit.outcome for visit in self.visits if visit.began >= since))

    def assert_all_served(self, since: float = 0.0) -> None:
        """Nobody of those that came since then was lost; and there were many."""
        rate = len(self.visits) / self.seconds
        slowest = max(visit.seconds for visit in self.visits)
        print(f"storm: {rate:.0f}/s, in all {self.outcomes()}, checked {self.outcomes(since)}, slowest {slowest:.2f} s")
        assert self.outcomes(since).keys() == {"served"}, self.outcomes(since)
        assert len(self.visits) > 100


def kill_at_once(pids: Sequence[int]) -> None:
    """SIGKILL to all, none of which can do anything any more when the first one dies."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
