"""How a figure comes about: the clients are run, and the contestant's processor time, memory or answers are read.

Each measure has a freshly started contestant for itself: it is warmed up with a tenth of the sessions, then read,
loaded, and read again. Any error that the clients see makes the measurement void (`processes.NotReady`).
"""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import processes
from tests.bench.contestants import BIN, Running
from tests.patience import patient

MICRO, MILLION = 1_000_000, 1_000_000
KIB = 1024
LOAD_SECONDS = 60
MAILS = 3
BIG_MAIL = 20 * 1024 * 1024  # a whole number of the generator's lines of 80 octets
SPARSE = 2  # sessions at once: the proxy sleeps between most events, as it does on an ordinary day
CROWDED = 50  # it finds several events at each waking, as in the busiest minute

Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much of it: sessions to run, sessions at once (None: as the workload has it), connections to hold.

    `segment` is the largest TCP segment in octets; 0 leaves loopback's own.
    """

    sessions: int
    at_once: int | None
    hold: int
    segment: int


Measure = Callable[[Running, Size], Figures]


@dataclass(frozen=True)
class Clients:
    """What they do: so many at once, with options of pop3load, so large a part of the sessions, in TLS or not.

    `resume`: each begins with a session that the warm-up was given, and all must really be resumed; if it is False,
    none may be. `octets`: of mail, that each fetches.
    """

    at_once: int
    options: tuple[str, ...] = ()
    part: float = 1.0
    in_tls: bool = False
    resume: bool = False
    octets: int = 0


def _load(running: Running, in_tls: bool, *options: str | int | Path) -> list[str]:
    name, port = ("pop3load-tls", running.tls) if in_tls else ("pop3load", running.port)
    tls = ("-T", running.pem) if in_tls else ()
    return [str(word) for word in (BIN / name, "-p", port, "-t", LOAD_SECONDS, *tls, *options)]


def _run(command: list[str]) -> Figures:
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(LOAD_SECONDS + 20), check=False)
    if done.returncode != 0:
        raise processes.NotReady(f"the clients say: {done.stderr.strip()}")
    told: Figures = json.loads(done.stdout)
    if told["errors"]:
        raise processes.NotReady(f"{told['errors']} of {told['sessions']} sessions went wrong")
    return told


def _sessions(running: Running, clients: Clients, sessions: int, *options: str | int | Path) -> Figures:
    at_once = min(clients.at_once, sessions)
    return _run(_load(running, clients.in_tls, "-s", sessions, "-c", at_once, *clients.options, *options))


def _measured(running: Running, clients: Clients, sessions: int, *options: str | int | Path) -> Figures:
    """Runs them, and gives with what they tell the processor time for each, and the rate."""
    before = processes.spent(running.pids())
    told = _sessions(running, clients, sessions, *options)
    spent = processes.spent(running.pids()).since(before)
    if clients.in_tls and told["resumed"] != sessions * clients.resume:
        raise processes.NotReady(f"{told['resumed']} of {sessions} sessions were resumed")
    told |= {"cpu": spent.total / sessions * MICRO, "rate": sessions / told["seconds"]}
    if spent.user + spent.system > 0:
        told["user"] = told["cpu"] * spent.user / (spent.user + spent.system)
    if clients.octets:
        told["megabytes"] = clients.octets * sessions / spent.total / MILLION
    return told


def cpu(usual: Clients) -> Measure:
    """Processor time per session in microseconds (`cpu`, `user` of it), sessions per second (`rate`), and, where mail
    is fetched, megabytes per second of processor time (`megabytes`).
    """

    def measure(running: Running, size: Size) -> Figures:
        clients = with_at_once(usual, size)
        sessions = max(round(size.sessions * clients.part), 1)
        ticket = running.directory / "session.pem"
        kept, given = (("-k", ticket), ("-r", ticket)) if clients.resume else ((), ())
        _sessions(running, clients, max(sessions // 10, 1), "-g", size.segment, *kept)
        return _measured(running, clients, sessions, "-g", size.segment, *given)

    return measure


def with_at_once(usual: Clients, size: Size) -> Clients:
    """As the option --at-once wants it."""
    return Clients(**{**vars(usual), "at_once": size.at_once or usual.at_once})


def latency(rate: int, part: float) -> Measure:
    """Time from when a session should begin to the reply to PASS, at so many sessions a second, in microseconds."""

    def measure(running: Running, size: Size) -> Figures:
        _sessions(running, Clients(SPARSE), max(size.sessions // 10, 1))
        told = _run(_load(running, False, "-R", rate, "-s", max(round(size.sessions * part), 1), "-g", size.segment))
        return {**told, "p50_ms": told["login_p50"] / 1000, "p99_ms": told["login_p99"] / 1000}

    return measure


@contextlib.contextmanager
def _held(running: Running, count: int, in_tls: bool, *options: str) -> Iterator[None]:
    """So many connections, open and silent as long as the block lasts. Raises NotReady if any fails or is lost."""
    command = _load(running, in_tls, "-h", count, "-c", CROWDED, *options)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        try:
            told = json.loads(clients.stdout.readline() or '{"errors": -1}')
            if told["errors"]:
                raise processes.NotReady(f"of {count} idle connections {told['errors']} failed")
            yield
        finally:
            clients.stdin.close()
        lost = json.loads(clients.stdout.readline())["lost"]
    if lost:
        raise processes.NotReady(f"of {count} idle connections {lost} were lost")


def memory(*options: str, in_tls: bool = False) -> Measure:
    """Growth of memory for each connection that is held open, in KiB: `pss`, and others."""

    def measure(running: Running, size: Size) -> Figures:
        _sessions(running, Clients(SPARSE, in_tls=in_tls), max(size.sessions // 10, 1))
        before = processes.memory_bytes(running.pids())
        with _held(running, size.hold, in_tls, *options):
            after = processes.memory_bytes(running.pids())
        return {kind: (after[kind] - before[kind]) / size.hold / KIB for kind in after}

    return measure


def beside(idle: int, usual: Clients) -> Measure:
    """`times`: what a session costs beside so many silent ones, over what it costs without them."""

    def measure(running: Running, size: Size) -> Figures:
        clients = with_at_once(usual, size)
        _sessions(running, clients, max(size.sessions // 10, 1))
        alone = _measured(running, clients, size.sessions)
        with _held(running, idle, False, "-l"):
            crowded = _measured(running, clients, size.sessions)
        return {**crowded, "alone": alone["cpu"], "times": crowded["cpu"] / alone["cpu"]}

    return measure
