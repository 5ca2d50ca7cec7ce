"""Starts processes, reads what they cost, and ends them all.

Linux only: it reads /proc. A process tree is found by parents, so a contestant must stay in the foreground. What is
started here dies with this process (PR_SET_PDEATHSIG), also when that is killed.
"""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.patience import PATIENCE, patient

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
NANO = 1_000_000_000
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
FIELDS_BEHIND_NAME = 3  # /proc/PID/stat: fields 1 and 2 are the pid and the name; the list below begins at 3
STATE, PARENT, USER_TIME, START_TIME = 3, 4, 14, 22
PORTS = range(10000, 32000)  # below the ports that the kernel gives to clients


class NotReady(Exception):
    """A process that was started did not do what it should, or is gone. Carries what it said."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    for port in random.sample(PORTS, 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise NotReady("none of 100 ports is free")


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(command: Sequence[str | Path], log: Path, **options: Any) -> subprocess.Popen[str]:
    """Starts a program in a process group of its own, with standard error (and output, unless told) in `log`."""
    with log.open("ab") as file:
        all_options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, **options}
        return subprocess.Popen(
            [str(word) for word in command],
            **all_options,
            text=True,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def _fields(pid: int) -> list[str]:
    """Fields 3 and up of /proc/PID/stat (proc(5)). Raises OSError if the process is gone."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _field(fields: list[str], number: int) -> int:
    return int(fields[number - FIELDS_BEHIND_NAME])


def tree(root: int) -> list[int]:
    """The process and all that descend from it; parents before children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(_field(_fields(int(entry.name)), PARENT), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


class Spent(NamedTuple):
    """Processor time in seconds: `total` to the nanosecond; `user` and `system` in ticks, so only to split it."""

    total: float
    user: float
    system: float

    def since(self, before: "Spent") -> "Spent":
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))


def _cpu_clock(pid: int) -> int:
    """clock_getcpuclockid(3): what /proc/PID/task/*/schedstat would tell, and the threads that have ended, too."""
    return (~pid << 3) | 2


def spent(pids: Sequence[int]) -> Spent:
    """What the processes have used, all threads, and their children that were waited for (those in ticks only)."""
    nanoseconds, ticks = 0, [0, 0, 0, 0]
    for pid in pids:
        fields = _fields(pid)
        ticks = [sum(pair) for pair in zip(ticks, (_field(fields, USER_TIME + n) for n in range(4)), strict=True)]
        nanoseconds += time.clock_gettime_ns(_cpu_clock(pid))
    user, system, of_children = ticks[0], ticks[1], ticks[2] + ticks[3]
    whole = nanoseconds / NANO + of_children / TICKS_PER_SECOND
    return Spent(whole, (user + ticks[2]) / TICKS_PER_SECOND, (system + ticks[3]) / TICKS_PER_SECOND)


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes, and of their children that were waited for."""
    return spent(pids).total


def memory_bytes(pids: Sequence[int]) -> dict[str, int]:
    """The proportional and the resident set size of the processes together, and what of it is no file's: `anonymous`
    does not change because others end who shared a file. The kernel's buffers are not in it.
    """
    total = {"pss": 0, "rss": 0, "anonymous": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name.lower() in total:
                total[name.lower()] += int(rest.split()[0]) * 1024
    return total


def _name(process: subprocess.Popen[str]) -> str:
    """The last part of the program's path: what failed is shown to others too."""
    return Path(process.args[0]).name  # type: ignore[arg-type]


def wait_until_answering(port: int, process: subprocess.Popen[str], log: Path, seconds: float = PATIENCE) -> None:
    """Returns when 127.0.0.1:port greets as a POP3 server does. Raises NotReady after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=patient(1)) as client:
            if client.recv(512).startswith(b"+OK"):
                return
        time.sleep(0.02)
    said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    ended = "" if process.poll() is None else f", and ended with {process.returncode}"
    raise NotReady(f"{_name(process)} does not answer on port {port} in {seconds:.0f} seconds{ended}. It said: {said}")


def _alive(pid: int, born: int) -> bool:
    try:
        fields = _fields(pid)
    except OSError:
        return False
    return _field(fields, START_TIME) == born and fields[STATE - FIELDS_BEHIND_NAME] != "Z"


def stop(process: subprocess.Popen[str]) -> None:
    """Ends a process that `start` started, by SIGTERM, and what is left of its tree after ten seconds by SIGKILL."""
    born = {}
    for pid in tree(process.pid):
        with contextlib.suppress(OSError):
            born[pid] = _field(_fields(pid), START_TIME)
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    while any(_alive(*who) for who in born.items()) and time.monotonic() < deadline:
        process.poll()
        time.sleep(0.01)
    for pid, birth in born.items():
        if _alive(pid, birth):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(PATIENCE)


@contextlib.contextmanager
def helper(command: Sequence[str | Path], log: Path) -> Iterator[int]:
    """Runs one of the bench's own servers; gives the port that it prints."""
    process = start(command, log, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise NotReady(f"{command[0]} did not print its port: {log.read_text(errors='replace')}")
        yield int(line)
    finally:
        stop(process)
        assert process.stdout is not None
        process.stdout.close()
