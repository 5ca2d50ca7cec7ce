"""The file of a log: opened below a checked directory, with the rights of the user that it is for; each line is one
`write` in append mode.
"""

import errno
import os
import pwd
import stat
from pathlib import Path

from supervisor.runtime import rights
from supervisor.runtime.directory import Directory, FileOwner, Untrusted
from supervisor.system import write

STANDARD_ERROR = "-"
_STANDARD = {STANDARD_ERROR: 2, "/dev/stderr": 2, "/dev/stdout": 1}
_MOST_LINKS = 8


class LogFile:
    """The file: opened to append, opened anew when it was moved away, and each line is one write to it."""

    def __init__(self, path: str, user: pwd.struct_passwd | None = None) -> None:
        """`path`: a file, or "-" for standard error; `user`: whom root is going to become.

        Raises OSError if it cannot be opened.
        """
        self.path = path
        self._fd, self.doubt = _open_for(path, user)
        """Also why others can write the directory that it is in; empty if they cannot."""

    def write(self, line: bytes) -> None:
        """Writes a finished line. A full disk must not stop the service."""
        try:
            write(self._fd, line)
        except OSError:
            pass

    def reopen(self, path: str | None = None) -> None:
        """Opens the file anew, or another one from now on. Raises OSError; the old one then stays in use."""
        fd, _doubt = _open(path or self.path, FileOwner.present())
        old, self._fd = self._fd, fd
        self.path = path or self.path
        if old not in _STANDARD.values():
            os.close(old)

    def fileno(self) -> int:
        return self._fd


def _open_for(path: str, user: pwd.struct_passwd | None) -> tuple[int, str]:
    """Opens a log with the rights of the user that it is for; see `_open`.

    Where this user may make no file, only root's own directories are left, in which nobody else can put one: there root
    opens it and gives it to the user.
    """
    try:
        with rights.acting_as(user):
            return _open(path, FileOwner.of(user))
    except Untrusted:
        raise
    except PermissionError:
        if user is None or os.geteuid() != 0:
            raise
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
