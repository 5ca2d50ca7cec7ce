"""A directory that others may be able to write: opened once, checked, and each file opened relative to it.

A path is a promise that whoever can write one of its directories may break between two system calls, by a symbolic
link, a second name (hard link) or a file of his own. So a program that has more rights than those who can write a
directory follows no link that is not root's or its own, opens files below the checked descriptor, and looks at what it
has opened before it writes.

*Others* are all but root, the user that the program runs as, and this user's primary group. In a sticky directory
nobody can touch another one's file, a directory of root's is open to the groups that root let in, and on a read-only
file system nobody writes: those count as nobody's.
"""

import errno
import fcntl
import os
import pwd
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_LOCK_SECONDS = 10.0
"""So long a lock is waited for by who can go on without it: a write to a slow disk takes seconds."""
SURE_SECONDS = 30.0
"""And by who cannot: longer than anybody of ours keeps it. Whoever can read the directory may keep it for ever."""
_LOOK_SECONDS = 0.02
_MOST_LINKS = 40
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_TRIES = 10


class Untrusted(OSError):
    """Somebody else could have put it there; the text is for people."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EPERM, text)

    def __str__(self) -> str:
        return str(self.strerror)


class FileOwner(NamedTuple):
    """Whom the files are for."""

    uid: int
    gid: int

    @classmethod
    def present(cls) -> "FileOwner":
        """Who this process is now."""
        return cls(os.geteuid(), os.getegid())

    @classmethod
    def of(cls, user: pwd.struct_passwd | None) -> "FileOwner":
        """A user of this host; None: who this process is now."""
        return cls(user.pw_uid, user.pw_gid) if user is not None else cls.present()


def who_else_can_write(found: os.stat_result, owner: FileOwner) -> str:
    """Completes "the file …": why others than root and the owner can write it; empty if they cannot.

    Who can write a link is who made it.
    """
    if found.st_uid not in (0, owner.uid):
        return f"belongs to {_user_name(found.st_uid)}"
    if stat.S_ISLNK(found.st_mode):
        return ""
    is_directory = stat.S_ISDIR(found.st_mode)
    if is_directory and found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "may be written by everybody: take that right away (chmod o-w)"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, owner.gid) and not (is_directory and not found.st_uid):
        return f"may be written by the group {found.st_gid}: take that right away (chmod g-w)"
    return ""


def why_not_trusted(path: Path, owner: FileOwner) -> str:
    """What of all that leads to a file others can write or have made, and why; empty if nothing. Raises OSError."""
    for one in _on_the_way(path.absolute()):
        found = who_else_can_write(one.lstat(), owner)
        if found and not os.statvfs(one).f_flag & os.ST_RDONLY:
            return f"{one} {found}"
    return ""


def _on_the_way(path: Path) -> Iterator[Path]:
    """The directories and symbolic links that are passed when a path is opened, and what is at its end."""
    steps = deque(path.parts[1:])
    here, links = Path("/"), 0
    yield here
    while steps:
        step = steps.popleft()
        if step == "..":
            here = here.parent
            continue
        yield here / step
        if not (here / step).is_symlink():
            here /= step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = Path(os.readlink(here / step))
        here = Path("/") if target.is_absolute() else here
        steps.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))


def _lock(fd: int, *, until: float) -> None:
    """Raises BlockingIOError, if it cannot be had until then; OSError."""
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise BlockingIOError(errno.EAGAIN, "another process keeps it locked") from None
        time.sleep(_LOOK_SECONDS)


def _user_name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


class Directory:
    """One directory, by descriptor."""

    def __init__(self, path: Path, fd: int, owner: FileOwner, *, made: bool = False, safe_above: bool = True) -> None:
        self.path = path
        self.fd = fd
        self.owner = owner
        self.made = made
        """It was not there before, and is the one that was made, or as empty."""
        self.safe_above = safe_above
        """Nobody but root could have put it where it is."""
        found = os.fstat(fd)
        self.doubt = "" if os.fstatvfs(fd).f_flag & os.ST_RDONLY else who_else_can_write(found, owner)
        """Why others can write it; empty if they cannot."""

    @classmethod
    def open(
        cls, path: Path, owner: FileOwner | None = None, make: bool = False, *, strict: bool | None = None
    ) -> "Directory":
        """Opens it; `make`: with mode 0700 if it is not there. Raises OSError.

        `strict` (the default for root): links on the way must be root's or the caller's, and a directory that others
        than `owner` can write is refused (Untrusted).
        """
        owner = owner or FileOwner.present()
        strict = os.geteuid() == 0 if strict is None else strict
        if not strict:
            made = make and not path.exists()
            if make:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(path, os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), owner, made=made)
        try:
            fd, made, safe_above = _descend(path, make)
        except OSError as error:
            error.filename = str(path)
            raise
        # Below a directory of somebody else, another one may lie there by now in place of what was made.
        opened = cls(path, fd, owner, made=made and (safe_above or is_fresh(fd)), safe_above=safe_above)
        if opened.doubt:
            opened.close()
            raise Untrusted(f"{path} {opened.doubt}")
        return opened

    def close(self) -> None:
        os.close(self.fd)

    def opened(self) -> int:
        """One more descriptor of it, which can be locked and listed."""
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)

    @contextmanager
    def alone(self, *, surely: bool = True, wait: bool = True) -> Iterator[None]:
        """Nobody else is so in this directory meanwhile. Raises OSError: BlockingIOError, if somebody is for too long.
        Not `surely`: then, and where nothing can be locked, all go on. Not `wait`: any time is too long.
        """
        seconds = (SURE_SECONDS if surely else _LOCK_SECONDS) if wait else 0.0
        fd = -1
        try:
            try:
                fd = self.opened()
                _lock(fd, until=time.monotonic() + seconds)
            except OSError:
                if surely:
                    raise
            yield
        finally:
            if fd >= 0:
                os.close(fd)

    @property
    def is_exclusive(self) -> bool:
        """Whether only root and the owner can make names in it."""
        found = os.fstat(self.fd)
        return not self.doubt and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

    # Files

    def open_file(self, name: str, flags: int, mode: int = 0o600, *, devices: bool = False) -> int:
        """Opens a file of its own, or makes it if `flags` hold O_CREAT. Raises OSError, Untrusted.

        Never follows a link, never truncates; what is opened is a regular file (or, if allowed, a device or a pipe) of
        root's or the owner's, with one name.
        """
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        for _ in range(_MOST_TRIES):
            try:
                fd = self._open_there(name, flags & ~os.O_CREAT)
            except FileNotFoundError:
                if not flags & os.O_CREAT:
                    raise
                try:
                    return os.open(name, flags | os.O_EXCL, mode, dir_fd=self.fd)
                except FileExistsError:
                    continue
            why_not = self._why_not(os.fstat(fd), devices)
            if not why_not:
                return fd
            os.close(fd)
            raise Untrusted(f"{self.path / name} {why_not}")
        raise Untrusted(f"{self.path / name} comes and goes")

    def _open_there(self, name: str, flags: int) -> int:
        try:
            # Not blocking, so that a named pipe is looked at instead of waited for.
            fd = os.open(name, flags | os.O_NONBLOCK, dir_fd=self.fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Untrusted(f"{self.path / name} is a symbolic link, which is not followed") from None
            error.filename = str(self.path / name)
            raise
        os.set_blocking(fd, True)
        return fd

    def _why_not(self, found: os.stat_result, devices: bool) -> str:
        if not stat.S_ISREG(found.st_mode) and not (
            devices and (stat.S_ISCHR(found.st_mode) or stat.S_ISFIFO(found.st_mode))
        ):
            return "is not a regular file"
        if found.st_uid not in (0, self.owner.uid):
            return f"belongs to {_user_name(found.st_uid)}"
        if found.st_nlink > 1:
            return "has a second name (hard link) somewhere else"
        return ""

    # Names

    def names(self) -> list[str]:
        """All that is in it, in order of the alphabet."""
        fd = self.opened()
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def status(self, name: str) -> os.stat_result | None:
        """What stat(2) says of the name itself, not of what it may lead to; None if it is not there."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def is_socket(self, name: str) -> bool:
        found = self.status(name)
        return found is not None and stat.S_ISSOCK(found.st_mode)

    def target(self, name: str) -> str | None:
        """Where a symbolic link leads; None if it is none."""
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError:
            return None

    def link(self, name: str, target: str) -> None:
        """Points a symbolic link somewhere else, at one stroke."""
        fresh = f".{name}.{os.urandom(4).hex()}"
        os.symlink(target, fresh, dir_fd=self.fd)
        try:
            os.replace(fresh, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError:
            self.remove(fresh)
            raise

    def put(
        self, name: str, content: bytes, *, durable: bool = False, unless: Callable[[], bool] = lambda: False
    ) -> bool:
        """A small file with this content (mode 0600), in place of what had the name. `durable`: it is on the disk when
        this returns, and the one before is there until then. `unless` is asked last, `alone`: if it is so, all stays as
        it was, and this gives False.
        """
        fresh = f".{name}.{os.urandom(4).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(fresh, flags, 0o600, dir_fd=self.fd)
            with open(fd, "wb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            with self.alone(surely=False):
                if unless():
                    self.remove(fresh)
                    return False
                os.replace(fresh, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except OSError as error:
            with suppress(OSError):  # such as a file system that is read-only by now
                self.remove(fresh)
            # Under its own name: whoever tells a trouble once compares the texts.
            raise OSError(error.errno, error.strerror, str(self.path / name)) from None
        if durable:
            itself = self.opened()
            try:
                os.fsync(itself)
            finally:
                os.close(itself)
        return True

    def remove(self, name: str) -> None:
        """Removes a name; one that is not there is fine."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            pass

    def reached(self, name: str) -> str:
        """A path by which a socket of it can be bound and connected to, wherever the directory is moved meanwhile."""
        return f"/proc/self/fd/{self.fd}/{name}"


def _descend(path: Path, make: bool) -> tuple[int, bool, bool]:
    """Goes down a path step by step: a descriptor of its end, whether that was made, and whether only root could have
    put it there.
    """
    trusted = {0, os.geteuid()}
    steps = deque(path.parts[1:])
    links, made, safe = 0, False, True
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while steps:
            step = steps.popleft()
            safe = safe and _is_roots(os.fstat(fd))
            try:
                below = os.open(step, _LOOK, dir_fd=fd)
            except FileNotFoundError:
                if not make:
                    raise
                with suppress(FileExistsError):  # another one starts at the same moment
                    os.mkdir(step, 0o755 if steps else 0o700, dir_fd=fd)
                    made = made or not steps
                steps.appendleft(step)
                continue
            found = os.fstat(below)
            if not stat.S_ISLNK(found.st_mode):
                fd, above = below, fd
                os.close(above)
                continue
            try:
                target = os.readlink("", dir_fd=below)
            finally:
                os.close(below)
            links += 1
            if found.st_uid not in trusted:
                raise Untrusted(f"{path}: {step} is a symbolic link of {_user_name(found.st_uid)}")
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            steps.extendleft(reversed([part for part in target.split("/") if part]))
            if target.startswith("/"):
                os.close(fd)
                fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except BaseException:
        os.close(fd)
        raise
    return fd, made, safe


def is_fresh(fd: int) -> bool:
    """Whether a directory is as one that was just made by us: ours, for nobody else, and empty."""
    found = os.fstat(fd)
    return (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o700) and not os.listdir(
        f"/proc/self/fd/{fd}"
    )


def _is_roots(found: os.stat_result) -> bool:
    return found.st_uid == 0 and (bool(found.st_mode & stat.S_ISVTX) or not found.st_mode & 0o022)
