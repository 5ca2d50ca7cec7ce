"""What is measured: one row per workload, with what its clients do and which figure comes of it.

A measurement has a freshly started contestant for itself: it is warmed up with a tenth of the sessions, then read,
loaded, and read again. Any error that the clients see makes the measurement void (`processes.NotReady`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import processes
from tests.bench.contestants import BIN, PROJECT, Running

MICRO = 1_000_000
KIB = 1024
LOAD_SECONDS = 60
SPARSE = 2  # sessions at once: the proxy sleeps between most events, as it does on an ordinary day
CROWDED = 32  # it finds several events at each waking, as in the busiest minute


@dataclass(frozen=True)
class Size:
    """How much of it: sessions to run, sessions at once (None: as the workload has it), connections to hold.

    `segment` is the largest TCP segment in octets; 0 leaves loopback's own.
    """

    sessions: int
    at_once: int | None
    hold: int
    segment: int


@dataclass(frozen=True)
class Workload:
    """One row: `measure` gives the figure in `unit` and what else is worth keeping."""

    name: str
    title: str
    unit: str
    measure: Callable[[Running, Size], dict[str, Any]]
    in_tls: bool = False


def _load(running: Running, *options: str | int) -> list[str]:
    words = [BIN / "pop3load", "-p", running.port, "-t", LOAD_SECONDS, *options]
    return [str(word) for word in words]


def _run_sessions(running: Running, sessions: int, at_once: int, *options: str | int) -> dict[str, Any]:
    command = _load(running, "-s", sessions, "-c", min(at_once, sessions), *options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_SECONDS + 20, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    if told["errors"]:
        raise processes.NotReady(f"{told['errors']} of {sessions} sessions went wrong")
    return told


def _warm_up(running: Running, size: Size, at_once: int, *options: str | int) -> None:
    _run_sessions(running, max(size.sessions // 10, 1), at_once, *options)


def _cpu(usual_at_once: int, *options: str) -> Callable[[Running, Size], dict[str, Any]]:
    """Measures user and system time per session, in microseconds."""

    def measure(running: Running, size: Size) -> dict[str, Any]:
        at_once = size.at_once or usual_at_once
        _warm_up(running, size, at_once, *options, "-g", size.segment)
        before = processes.cpu_seconds(running.pids())
        told = _run_sessions(running, size.sessions, at_once, *options, "-g", size.segment)
        spent = processes.cpu_seconds(running.pids()) - before
        return {"value": spent / size.sessions * MICRO, **told}

    return measure


def _in_clear(*options: str) -> Callable[[Running, int], list[str]]:
    return lambda running, hold: _load(running, "-h", hold, "-c", CROWDED, *options)


def _in_tls(*options: str) -> Callable[[Running, int], list[str]]:
    words = [sys.executable, "-m", "tests.bench.tlshold"]
    return lambda running, hold: [*words, str(running.tls), str(running.pem), str(hold), *options]


def _memory(holding: Callable[[Running, int], list[str]]) -> Callable[[Running, Size], dict[str, Any]]:
    """Measures the growth of memory per connection that is held open, in KiB. `holding`: the command of the clients."""

    def measure(running: Running, size: Size) -> dict[str, Any]:
        _warm_up(running, size, SPARSE)
        before = processes.memory_bytes(running.pids())
        command = holding(running, size.hold)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT
        ) as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None
            try:
                told = json.loads(clients.stdout.readline())
                after = processes.memory_bytes(running.pids())
            finally:
                clients.stdin.close()
            told |= json.loads(clients.stdout.readline())
        if told["errors"] or told["lost"]:
            raise processes.NotReady(
                f"of {size.hold} idle connections {told['errors']} failed, {told['lost']} were lost"
            )
        growth = {kind: (after[kind] - before[kind]) / size.hold / KIB for kind in after}
        return {"value": growth["pss"], **growth, **told}

    return measure


WORKLOADS = (
    Workload("login", f"USER PASS STAT QUIT, {SPARSE} sessions at once", "µs", _cpu(SPARSE)),
    Workload("mails", "the same with three mails of 20 kB", "µs", _cpu(SPARSE, "-m")),
    Workload("busy", f"USER PASS STAT QUIT, {CROWDED} sessions at once", "µs", _cpu(CROWDED)),
    Workload("idle", "logged in, then silent", "KiB", _memory(_in_clear("-l"))),
    Workload("greeted", "silent before login", "KiB", _memory(_in_clear())),
    Workload("idle-tls", "logged in inside TLS, then silent", "KiB", _memory(_in_tls("-l")), in_tls=True),
)


def compile_programs(source: Path) -> None:
    """Compiles the C programs that are missing or older than their source. Raises CalledProcessError."""
    BIN.mkdir(exist_ok=True)
    header = source / "bench.h"
    for file in sorted(source.glob("*.c")):
        program = BIN / file.stem
        newest = max(file.stat().st_mtime, header.stat().st_mtime)
        if not program.exists() or program.stat().st_mtime < newest:
            flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra"]
            new = program.with_name(f"{program.name}.{os.getpid()}")  # somebody may be running the old one
            subprocess.run(["cc", *flags, "-o", str(new), str(file)], timeout=60, check=True)
            new.rename(program)
