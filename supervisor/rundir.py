"""The run directory: lock, pid file, control socket, state file.

    NAME.N.lock      held (flock) as long as the instance or any of its workers lives; N tells instances apart
    NAME.PID.ctrl    the control socket; a second living instance with that pid (containers) gets NAME.PID-2.ctrl
    NAME.ctrl        link to the newest control socket
    NAME.pid         pid of the newest instance
    NAME.state       link to the newest instance's session table

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

from supervisor.table import segment

_MOST_INSTANCES = 64


class CannotStart(Exception):
    """The run directory cannot be used; the text is for people."""


class RunDirectory:
    """One instance's place in a run directory."""

    def __init__(self, path: Path, name: str) -> None:
        """Makes the directory (0700) if it is missing, and takes the first free lock. Raises CannotStart."""
        self.path = path
        self.name = name
        self.control_path: Path | None = None
        self._pid_file_inode = 0
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                self.lock_fd, self.instance = self._take_lock()
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
                self._publish(f"{self.name}.ctrl", self.control_path.name)
        except OSError as error:
            control.close()
            raise CannotStart(f"control socket in {self.path}: {error.strerror or error}") from None
        return control

    def _bind_first_free(self, control: socket.socket) -> Path:
        for suffix in ("", *(f"-{number}" for number in range(2, _MOST_INSTANCES + 2))):
            path = self.path / f"{self.name}.{os.getpid()}{suffix}.ctrl"
            if not _answers(path):
                _bind_private(control, path)
                return path
        raise OSError("no free name")

    def give_to(self, user: pwd.struct_passwd) -> None:
        """Makes the directory and the lock the user's, before root is given up."""
        os.chown(self.path, user.pw_uid, user.pw_gid)
        os.fchown(self.lock_fd, user.pw_uid, user.pw_gid)

    def publish_state(self) -> None:
        """Leads readers to the table, and writes the pid file."""
        self._publish(f"{self.name}.state", str(segment.path_of(self.segment_name)))
        fresh = self.path / f".{self.name}.pid.{os.getpid()}.{self.instance}"
        fresh.write_text(f"{os.getpid()}\n")
        self._pid_file_inode = fresh.stat().st_ino
        fresh.replace(self.path / f"{self.name}.pid")

    def _publish(self, name: str, target: str) -> None:
        """Points a link somewhere else, at one stroke."""
        fresh = self.path / f".{name}.{os.getpid()}.{self.instance}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(self.path / name)

    def withdraw_control(self) -> None:
        """Removes the control socket; the link leads to another living instance, if there is one."""
        if self.control_path is not None:
            self.control_path.unlink(missing_ok=True)
            self._hand_on(f"{self.name}.ctrl", self.control_path.name, self._living_sockets())
            self.control_path = None
        # By its inode, not by what it says: in containers every master's pid is 1.
        pid_file = self.path / f"{self.name}.pid"
        if pid_file.exists() and pid_file.stat().st_ino == self._pid_file_inode:
            pid_file.unlink(missing_ok=True)

    def withdraw_all(self) -> None:
        """No process of this instance is left: removes the table and the lock too."""
        self.withdraw_control()
        self._hand_on(f"{self.name}.state", str(segment.path_of(self.segment_name)), [])
        segment.remove(self.segment_name)
        self._lock_path(self.instance).unlink(missing_ok=True)
        os.close(self.lock_fd)
        with self._alone():
            self._remove_orphans()

    def _hand_on(self, name: str, own_target: str, others: list[str]) -> None:
        """A link of this instance leads to another living one from now on, or goes; another instance's link stays."""
        link = self.path / name
        if not link.is_symlink() or os.readlink(link) != own_target:
            return
        if others:
            self._publish(name, others[-1])
        else:
            link.unlink(missing_ok=True)

    def _living_sockets(self) -> list[str]:
        """Control sockets of other living instances, the newest last."""
        sockets = [path for path in self.path.glob(f"{self.name}.*.ctrl") if path.is_socket() and _answers(path)]
        return [path.name for path in sorted(sockets, key=lambda path: path.stat().st_mtime)]


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
