"""The file of a log: opened below a checked directory, with the rights of the user that it is for; a line, or some that
were gathered, are one `write` in append mode.
"""

import errno
import os
import pwd
import select
import stat
from bisect import bisect_right
from pathlib import Path

from supervisor.runtime import rights
from supervisor.runtime.directory import Directory, FileOwner, Untrusted

STANDARD_ERROR = "-"
_STANDARD = {STANDARD_ERROR: 2, "/dev/stderr": 2, "/dev/stdout": 1}
_MOST_LINKS = 8
_MOST_LOOKED_AT = 1 << 24


class LogFile:
    """The file: opened to append, opened anew when it was moved away, and written to in whole lines."""

    def __init__(self, path: str, user: pwd.struct_passwd | None = None) -> None:
        """`path`: a file, or "-" for standard error; `user`: whom root is going to become.

        Raises OSError if it cannot be opened.
        """
        self.path = path
        fd, self.doubt = _open_for(path, user)
        """`doubt`: why others than its user can write the directory that the log is in; empty if they cannot."""
        self._fd = _without_waiting(fd)
        self._may_wait = _may_wait(self._fd)
        self._unended = False
        """The last line in the file was cut off, and could not be given a line end."""

    def write(self, lines: bytes, *, only_whole: bool = False) -> int:
        """Writes finished lines, one or more. How many of them are lost, or a part of them: neither a full disk nor
        somebody who reads no more at the other end of a pipe may stop the service.

        `only_whole`: a part of a line is taken away again where it is the end of a file; not for a file to which other
        processes write, since what they write in that moment would go with it.
        """
        ends = int(self._unended)
        if ends:
            lines = b"\n" + lines
        written = 0
        try:
            while written < len(lines):
                written += self._write_some(lines[written:])
        except OSError:
            torn = lines[lines.rfind(b"\n", 0, written) + 1 : written]
            if written:
                self._unended = bool(torn) and not self._end(torn, only_whole)
            return lines.count(b"\n", max(written, ends))
        self._unended = False
        return 0

    def _write_some(self, data: bytes) -> int:
        """How much of it has gone. Raises OSError."""
        if not self._may_wait:
            return os.write(self._fd, data)
        if not select.select((), (self._fd,), (), 0)[1]:
            raise BlockingIOError
        return os.write(self._fd, data[: select.PIPE_BUF])

    @property
    def gathers(self) -> bool:
        """Whether lines may be gathered for it: in a regular file one can look afterwards whether they have come; and
        whoever looks at a terminal or a pipe looks now.
        """
        return self._fd not in _STANDARD.values() and stat.S_ISREG(os.fstat(self._fd).st_mode)

    @property
    def is_deleted(self) -> bool:
        """Whether the file has no name any more: what is written to it nobody will read."""
        found = os.fstat(self._fd)
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 0

    def state(self) -> tuple[int, int]:
        """Inode and size now."""
        status = os.fstat(self._fd)
        return status.st_ino, status.st_size

    def without_written(self, lines: bytes, inode: int, size: int) -> bytes:
        """What of these lines is still to be written, where a process died while it wrote them in one piece.

        It had begun when the file was so long. If the last one was cut off, and nothing came after it, the rest of it
        is what is left; else it is written anew.
        """
        try:
            here, length = self.state()
            if here != inode or length <= size:
                return lines
            with open(f"/proc/self/fd/{self._fd}", "rb", buffering=0) as file:
                came = os.pread(file.fileno(), min(length - size, _MOST_LOOKED_AT), size)
        except OSError:
            return lines  # rather twice than never
        there = bisect_right(range(1, len(lines) + 1), False, key=lambda count: lines[:count] not in came)
        whole = lines.rfind(b"\n", 0, there) + 1
        return lines[there if there > whole and came.endswith(lines[whole:there]) else whole :]

    def _end(self, torn: bytes, is_taken_away: bool) -> bool:
        """Ends a line that was cut off, so that no process's next one is glued to it; or takes it away. False if that
        was not possible.

        The line end takes the place of the last character: that needs no space on a disk that has none.
        """
        kept = torn[:-1].decode(errors="ignore").encode()
        line_end = b"\n".rjust(len(torn) - len(kept))
        try:
            with open(f"/proc/self/fd/{self._fd}", "r+b", buffering=0) as file:
                start = os.fstat(file.fileno()).st_size - len(torn)
                if os.pread(file.fileno(), len(torn), start) == torn:
                    if is_taken_away:
                        os.ftruncate(file.fileno(), start)
                        return True
                    os.pwrite(file.fileno(), line_end, start + len(kept))
                    return True
        except OSError:  # a pipe, a device, no space for even that
            pass
        return torn.endswith(b"\n")

    def reopen(self, path: str | None = None) -> None:
        """Opens the file anew, or another one from now on. Raises OSError; the old one then stays in use."""
        if self.path in _STANDARD and path in (None, self.path):
            return  # there is nothing that could have been moved away
        fd, _doubt = _open(path or self.path, FileOwner.present())
        old, self._fd = self._fd, _without_waiting(fd)
        self._may_wait = _may_wait(self._fd)
        self.path = path or self.path
        if not os.path.samestat(os.fstat(old), os.fstat(fd)):
            self._unended = False
        if old not in _STANDARD.values():
            os.close(old)

    def fileno(self) -> int:
        return self._fd


def _may_wait(fd: int) -> bool:
    """Whether a write waits where nobody reads."""
    return os.get_blocking(fd) and not stat.S_ISREG(os.fstat(fd).st_mode)


def _without_waiting(fd: int) -> int:
    """A descriptor of this file by which no write waits for a reader (pipe, terminal, device), if there can be one.

    Standard error is others' as well, so it is opened anew. The kernel allows that for no socket, and for no pipe of
    another user's: then `LogFile` asks before each write whether there is room.
    """
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    if fd not in _STANDARD.values():
        os.set_blocking(fd, False)
        return fd
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return fd


def _open_for(path: str, user: pwd.struct_passwd | None) -> tuple[int, str]:
    """Opens a log with the rights of the user that it is for; see `_open`.

    Where this user may make no file, only root's own directories are left, in which nobody else can put one, and which
    nobody else can have put where they are: there root opens it and gives it to the user.
    """
    try:
        with rights.acting_as(user):
            return _open(path, FileOwner.of(user))
    except Untrusted:
        raise
    except PermissionError:
        if user is None or os.geteuid() != 0:
            raise
    if Path(path).absolute().parent.stat().st_uid == user.pw_uid:
        # His own directory, so root stays out of it.
        raise PermissionError(errno.EACCES, f"{user.pw_name} may not write it", path)
    return _open(path, FileOwner(0, 0), give_to=user)


def _open(path: str, owner: FileOwner, give_to: pwd.struct_passwd | None = None) -> tuple[int, str]:
    """The descriptor of a log, and why others can write its directory. Raises OSError."""
    strict = os.getuid() == 0
    for _ in range(_MOST_LINKS):
        if path in _STANDARD:
            return _STANDARD[path], ""
        try:
            directory = Directory.open(Path(path).absolute().parent, owner, strict=strict)
        except OSError as error:
            error.filename = path
            raise
        try:
            if give_to is not None and not directory.is_exclusive:
                raise PermissionError(errno.EACCES, f"{give_to.pw_name} may not write it")
            if give_to is not None and not directory.safe_above:
                raise Untrusted(f"{directory.path} is root's, below a directory that others can write")
            name = os.path.basename(path)
            target = _link_of_ours(directory, name)
            if target is None:
                fd = directory.open_file(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640, devices=True)
                if give_to is not None and stat.S_ISREG(os.fstat(fd).st_mode):
                    os.fchown(fd, give_to.pw_uid, give_to.pw_gid)
                return fd, directory.doubt
            path = os.path.join(directory.path, target)
        finally:
            directory.close()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _link_of_ours(directory: Directory, name: str) -> str | None:
    """Where a symbolic link leads that nobody else can have made: logs are put elsewhere in this way."""
    found = directory.status(name)
    if found is None or not stat.S_ISLNK(found.st_mode) or not directory.is_exclusive:
        return None
    return directory.target(name) if found.st_uid in (0, os.geteuid()) else None
