"""Which instances of a program a run directory holds, and what is theirs: lock, table, sockets. It changes nothing.

What each name means: rundir.py. An instance lives if its lock is held, and its master if its control socket answers.
"""

import errno
import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from supervisor.runtime.directory import Directory
from supervisor.table import segment
from supervisor.table.header import WrongFormat

_BEAT_NS = 60 * 10**9
"""A worker that lives shows it each second."""
CONTROL, HTTP = ".ctrl", ".http"
"""What the names of sockets end with."""


class Neighbour(NamedTuple):
    """Another instance in the directory."""

    lock: str
    pid: int
    """Its master's; 0 while that has not said it."""
    control: str | None
    http: str | None
    table: Path
    started: float


class Orphans(NamedTuple):
    """Workers of an instance whose master is gone: they finish their sessions, and nobody else sees those."""

    pids: list[int]
    sessions: int

    @property
    def command(self) -> str:
        """What ends them at once, and their sessions."""
        return f"kill {' '.join(map(str, self.pids))}"


class Instances:
    """The instances of one program, seen by one of them.

    Where `instance` and `control` are given, they are the number and the control socket of who asks.
    """

    def __init__(self, directory: Directory, path: Path, name: str) -> None:
        self._directory = directory
        self._path = path
        self._name = name

    def lock_name(self, instance: int) -> str:
        return f"{self._name}.{instance}.lock"

    def segment_of(self, instance: int) -> str:
        usual = self.usual_segment_of(instance)
        noted = self.table_name(instance)
        other = Path("" if self.is_a_strangers(noted) else self._directory.target(noted) or "")
        return f"/{other.name}" if other.name.startswith(f"{usual[1:]}-") else usual

    def usual_segment_of(self, instance: int) -> str:
        """A name that follows from the directory, never from the pid: every container's master is pid 1."""
        place = os.fstat(self._directory.fd)
        key = hashlib.sha256(f"{place.st_dev}:{place.st_ino}:{self._path.resolve()}".encode()).hexdigest()[:12]
        return f"/popular-{self._name}-{key}-{instance}"

    def table_name(self, instance: int) -> str:
        return f"{self._name}.{instance}.table"

    def is_a_strangers(self, name: str) -> bool:
        found = self._directory.status(name)
        return found is not None and found.st_uid not in (0, self._directory.owner.uid)

    def numbers(self, *, besides: int) -> list[int]:
        """The other instances, living and dead, that have a lock file."""
        middles = (one.removeprefix(f"{self._name}.").removesuffix(".lock") for one in self._directory.names())
        return [int(one) for one in middles if one.isascii() and one.isdecimal() and int(one) != besides]

    def is_dead(self, name: str) -> bool:
        return self._directory.is_socket(name) and not _answers(self._directory.reached(name))

    def heir(self, instance: int, control: Path | None) -> Neighbour | None:
        """The newest of the other living instances whose master can be asked."""
        served = [one for one in self.neighbours(instance, control) if one.control is not None]
        return max(served, key=lambda one: one.started, default=None)

    def neighbours(self, instance: int, control: Path | None) -> list[Neighbour]:
        """The other living instances: their locks cannot be had. One whose master is gone has no control socket."""
        found = []
        for number in self.numbers(besides=instance):
            lock = self.lock_name(number)
            try:
                fd = self._directory.open_file(lock, os.O_RDONLY)
            except OSError:  # gone meanwhile, or a stranger's
                continue
            try:
                if not _is_held(fd):
                    continue
                pid = os.read(fd, 32).decode("ascii", "replace").strip()
                started = os.fstat(fd).st_mtime
            finally:
                os.close(fd)
            table = segment.path_of(self.segment_of(number))
            theirs = self._control_of(pid, besides=control)
            http = self._http_beside(theirs)
            master = int(pid) if pid.isascii() and pid.isdecimal() else 0
            found.append(Neighbour(lock, master, theirs, http=http, table=table, started=started))
        return found

    @staticmethod
    def orphans_of(neighbour: Neighbour) -> Orphans | None:
        """The workers of an instance without a master; None if its table tells nothing."""
        try:
            view = segment.View.open(neighbour.table)
        except (OSError, WrongFormat):
            return None
        pids = [worker["pid"] for worker in view.workers() if _lives(worker)]
        return Orphans(sorted(pids), len(view.sessions())) if pids else None

    def _control_of(self, pid: str, *, besides: Path | None) -> str | None:
        """The control socket at which the master with this pid answers."""
        for name in self._directory.names():
            own = besides is not None and name == besides.name
            fits = name == f"{self._name}.{pid}{CONTROL}" or name.startswith(f"{self._name}.{pid}-")
            if fits and name.endswith(CONTROL) and not own and self._serves(name):
                return name
        return None

    def _serves(self, name: str) -> bool:
        return self._directory.is_socket(name) and _answers(self._directory.reached(name))

    def _http_beside(self, control: str | None) -> str | None:
        """The exporter's socket of the instance with this control socket."""
        name = control.removesuffix(CONTROL) + HTTP if control is not None else ""
        return name if name and self._directory.is_socket(name) else None


def _lives(worker: Mapping[str, int]) -> bool:
    """Whether it is still this process: nobody clears up behind workers without a master, and numbers come again."""
    beats = time.monotonic_ns() - worker["heartbeat_ns"] < _BEAT_NS
    return beats and os.path.exists(f"/proc/{worker['pid']}")


def _is_held(fd: int) -> bool:
    """Whether a living process holds the lock of this file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _answers(path: str) -> bool:
    """Whether somebody may serve the socket. One that nobody serves refuses at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(path)
    return result not in (errno.ECONNREFUSED, errno.ENOENT)
