"""The run directory: lock, pid file, control socket, state file.

    NAME.N.lock      the master's pid; held (flock) as long as the instance or any of its workers lives; N tells
                     instances apart
    NAME.PID.ctrl    the control socket; a second living instance with that pid (containers) gets NAME.PID-2.ctrl
    NAME.ctrl        link to the newest control socket
    NAME.pid         link to the newest instance's lock
    NAME.state       link to the newest instance's session table

When the newest instance ends, the three links lead to the next one that lives.

What a dead instance left is replaced, and its shared memory removed; what a living one holds is never touched: a lock
that cannot be had and a socket that answers are alive.
"""

import errno
import fcntl
import hashlib
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from supervisor.table import segment

_MOST_INSTANCES = 64


class CannotStart(Exception):
    """The run directory cannot be used; the text is for people."""


class RunDirectory:
    """One instance's place in a run directory."""

    def __init__(self, path: Path, name: str, readers: int | None = None) -> None:
        """Makes the directory (0700) if it is missing, and takes the first free lock. Raises CannotStart.

        `readers`: the group that may connect to the control socket.
        """
        self._readers = readers
        self.path = path
        self.name = name
        self.control_path: Path | None = None
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                self.lock_fd, self.instance = self._take_lock()
                os.ftruncate(self.lock_fd, 0)
                os.write(self.lock_fd, f"{os.getpid()}\n".encode())
                self._remove_orphans()
        except OSError as error:
            raise CannotStart(f"run directory {path}: {error.strerror or error}") from None

    @property
    def segment_name(self) -> str:
        return self._segment_of(self.instance)

    def _segment_of(self, instance: int) -> str:
        """A name that follows from the directory, never from the pid: every container's master is pid 1."""
        place = self.path.stat()
        key = hashlib.sha256(f"{place.st_dev}:{place.st_ino}:{self.path.resolve()}".encode()).hexdigest()[:12]
        return f"/popular-{self.name}-{key}-{instance}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else looks for a place in the directory meanwhile: a socket that is not served yet seems dead."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _lock_path(self, instance: int) -> Path:
        return self.path / f"{self.name}.{instance}.lock"

    def _take_lock(self) -> tuple[int, int]:
        for instance in range(1, _MOST_INSTANCES + 1):
            fd = self._try_lock(instance)
            if fd is not None:
                return fd, instance
        raise CannotStart(f"{self.path} already holds {_MOST_INSTANCES} running instances of {self.name}")

    def _try_lock(self, instance: int) -> int | None:
        path = self._lock_path(instance)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            # Between open and flock the file may have been removed by an instance that left: then the lock is worth
            # nothing.
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
            os.close(fd)

    def _remove_orphans(self) -> None:
        """Removes the shared memory, locks and sockets of instances that died without a chance to do so."""
        for path in self.path.glob(f"{self.name}.*.ctrl"):
            if path.is_socket() and not _answers(path):
                path.unlink(missing_ok=True)
        for path in self.path.glob(f"{self.name}.*.lock"):
            number = path.name.split(".")[-2]
            if not number.isdigit() or int(number) == self.instance:
                continue
            fd = self._try_lock(int(number))
            if fd is not None:
                segment.remove(self._segment_of(int(number)))
                path.unlink(missing_ok=True)
                os.close(fd)

    def open_control_socket(self) -> socket.socket:
        """Binds and publishes the control socket, mode 0600. Raises CannotStart."""
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            with self._alone():
                self.control_path = self._bind_first_free(control)
                if self._readers is not None:
                    self._let_in(self._readers)
                self._publish(f"{self.name}.ctrl", self.control_path.name)
        except OSError as error:
            control.close()
            raise CannotStart(f"control socket in {self.path}: {error.strerror or error}") from None
        return control

    def _let_in(self, group: int) -> None:
        """The group may go through the directory, without seeing what is in it, and connect to the control socket."""
        assert self.control_path is not None
        os.chown(self.path, -1, group)
        self.path.chmod(self.path.stat().st_mode & 0o7777 | 0o010)
        os.chown(self.control_path, -1, group)
        self.control_path.chmod(0o660)

    def _bind_first_free(self, control: socket.socket) -> Path:
        for suffix in ("", *(f"-{number}" for number in range(2, _MOST_INSTANCES + 2))):
            path = self.path / f"{self.name}.{os.getpid()}{suffix}.ctrl"
            if not _answers(path):
                _bind_private(control, path)
                return path
        raise OSError("no free name")

    def give_to(self, user: pwd.struct_passwd) -> None:
        """Makes the directory and the lock the user's, before root is given up. Raises CannotStart.

        Not while another user's instance lives in it: that one could not use its own directory any more.
        """
        if self.path.stat().st_uid != user.pw_uid and self._neighbours():
            raise CannotStart(f"run directory {self.path} is in use by an instance of another user than {user.pw_name}")
        os.chown(self.path, user.pw_uid, user.pw_gid)
        os.fchown(self.lock_fd, user.pw_uid, user.pw_gid)

    def publish_state(self) -> None:
        """Leads readers to the table and to the pid."""
        self._publish(f"{self.name}.state", str(segment.path_of(self.segment_name)))
        self._publish(f"{self.name}.pid", self._lock_path(self.instance).name)

    def others(self) -> list[tuple[int, Path]]:
        """The pid and the control socket of each other instance whose master lives."""
        served = [(one.lock, one.control) for one in self._neighbours() if one.control is not None]
        return [(int((self.path / lock).read_text()), self.path / control) for lock, control in served]

    def has_successor(self) -> bool:
        """Whether the links lead to a newer instance."""
        try:
            return os.readlink(self.path / f"{self.name}.pid") != self._lock_path(self.instance).name
        except OSError:
            return False

    def _publish(self, name: str, target: str) -> None:
        """Points a link somewhere else, at one stroke."""
        fresh = self.path / f".{name}.{os.getpid()}.{self.instance}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(self.path / name)

    def withdraw_control(self) -> None:
        """Removes the control socket; the links lead to another living instance, if there is one."""
        heir = self._heir()
        if self.control_path is not None:
            self.control_path.unlink(missing_ok=True)
            self._hand_on(f"{self.name}.ctrl", self.control_path.name, heir.control if heir else None)
            self.control_path = None
        self._hand_on(f"{self.name}.pid", self._lock_path(self.instance).name, heir.lock if heir else None)

    def withdraw_all(self) -> None:
        """No process of this instance is left: removes the table and the lock too."""
        heir = self._heir()
        self.withdraw_control()
        self._hand_on(
            f"{self.name}.state", str(segment.path_of(self.segment_name)), str(heir.table) if heir is not None else None
        )
        segment.remove(self.segment_name)
        self._lock_path(self.instance).unlink(missing_ok=True)
        os.close(self.lock_fd)
        with self._alone():
            self._remove_orphans()

    def _hand_on(self, name: str, own_target: str, target: str | None) -> None:
        """A link of this instance leads to the heir from now on, or goes; another instance's link stays."""
        link = self.path / name
        if not link.is_symlink() or os.readlink(link) != own_target:
            return
        if target is not None:
            self._publish(name, target)
        else:
            link.unlink(missing_ok=True)

    def _heir(self) -> "_Neighbour | None":
        """The newest of the other living instances whose master can be asked."""
        served = [one for one in self._neighbours() if one.control is not None]
        return max(served, key=lambda one: one.started, default=None)

    def _neighbours(self) -> list["_Neighbour"]:
        """The other living instances: their locks cannot be had. One whose master is gone has no control socket."""
        found = []
        for path in self.path.glob(f"{self.name}.*.lock"):
            number = path.name.split(".")[-2]
            if not number.isdigit() or int(number) == self.instance or not _is_held(path):
                continue
            pid = path.read_text().strip()
            sockets = sorted(self.path.glob(f"{self.name}.{pid}.ctrl")) + sorted(
                self.path.glob(f"{self.name}.{pid}-*.ctrl")
            )
            control = next((one.name for one in sockets if one != self.control_path and _answers(one)), None)
            table = segment.path_of(self._segment_of(int(number)))
            found.append(_Neighbour(path.name, control, table, path.stat().st_mtime))
        return found


class _Neighbour(NamedTuple):
    """Another instance in the directory."""

    lock: str
    control: str | None
    table: Path
    started: float


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _answers(path: Path) -> bool:
    """Whether somebody may serve the socket. One that nobody serves refuses at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(str(path))
    return result not in (errno.ECONNREFUSED, errno.ENOENT)


def _bind_private(control: socket.socket, path: Path) -> None:
    path.unlink(missing_ok=True)
    old = os.umask(0o177)
    try:
        control.bind(str(path))
    finally:
        os.umask(old)
    control.listen(64)
