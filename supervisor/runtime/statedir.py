"""The state directory: what the operator has ordered outlives the program there, in `NAME.operator.json`. Instances in
one run directory may share it, others may not (`NAME.operator.lock`).

Whoever the program runs as can write it, so root only makes it and gives it away (as the run directory). A file that
cannot be read as what it should be is set aside, as `NAME.operator.json.damaged`, and never stops a start.
"""

import fcntl
import os
import pwd
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from supervisor.runtime.directory import Directory, FileOwner

DEFAULT_STATEDIR = Path("/var/lib/popular")
_LONGEST = 64 << 20
"""Octets of the file: more than can ever be ordered."""
_LONGEST_NAME = 4096
_PAUSE_SECONDS = 0.01
_MOST_TRIES = 100
"""While others claim it, which takes them no time."""


class StateDirectory:
    """A program's place in it. Only the lock is held open: all else may come and go."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.program = name
        self._name = f"{name}.operator.json"
        self._lock_name = f"{name}.operator.lock"
        self._lock = -1

    def make(self, user: pwd.struct_passwd) -> None:
        """As root: makes it, unless it is there, for the user that the program is going to run as. Raises OSError."""
        directory = Directory.open(self.path, FileOwner.of(user), make=True)
        try:
            if directory.made:
                os.chown(".", user.pw_uid, user.pw_gid, dir_fd=directory.fd)
        finally:
            directory.close()

    def claim(self, rundir: str) -> str:
        """Takes it for the instances of one run directory (`RunDirectory.identity`), as long as this process lives:
        what two proxies order would overwrite each other. Gives "", or which other run directory has it. Where nothing
        can be locked nobody has it: `trouble`, or the first write, tells that.
        """
        try:
            directory = Directory.open(self.path, make=True)
        except OSError:
            return ""
        try:
            self._lock = directory.open_file(self._lock_name, os.O_RDWR | os.O_CREAT)
            return self._share(rundir)
        except OSError:
            return ""
        finally:
            directory.close()

    def _share(self, rundir: str) -> str:
        """Who is alone writes the name; then all hold the lock together, and nobody changes it. Raises OSError."""
        if _is_had(self._lock, fcntl.LOCK_EX):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, rundir.encode("utf-8", "surrogateescape"), 0)
        for _ in range(_MOST_TRIES):
            if _is_had(self._lock, fcntl.LOCK_SH):
                break
            time.sleep(_PAUSE_SECONDS)
        owner = os.pread(self._lock, _LONGEST_NAME, 0).decode("utf-8", "surrogateescape")
        if owner.partition(" ")[0] == rundir.partition(" ")[0]:
            return ""
        os.close(self._lock)
        return owner or "another instance"

    def trouble(self) -> str:
        """Why nothing can be kept there; empty if it can. Nothing is made by looking."""
        place = self.path
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            return f"{place} is no directory"
        if not os.access(place, os.W_OK | os.X_OK):
            return f"{place} cannot be written"
        return ""

    def read(self) -> bytes | None:
        """What was kept; None: nothing. Raises OSError."""
        try:
            directory = Directory.open(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            with directory.alone(surely=False):  # what somebody is about to write is read too
                fd = directory.open_file(self._name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        finally:
            directory.close()
        with open(fd, "rb") as file:
            return file.read(_LONGEST)

    def set_aside(self) -> Path:
        """The file goes out of the way, for people to look at. Raises OSError."""
        aside = self.path / f"{self._name}.damaged"
        os.replace(self.path / self._name, aside)
        return aside

    def write(self, content: bytes, unless: Callable[[], bool] = lambda: False) -> bool:
        """Keeps this from now on: a new file, on the disk before it has the name. May block. Whether it was done: not
        if `unless` is so at the last moment. Raises OSError.
        """
        directory = Directory.open(self.path, make=True)
        try:
            return directory.put(self._name, content, durable=True, unless=unless)
        finally:
            directory.close()

    def remove_leftovers(self) -> None:
        """Removes what a process that was killed while it wrote has left."""
        with suppress(OSError):
            for one in self.path.iterdir():
                if one.name.startswith(f".{self._name}.") and stat.S_ISREG(one.lstat().st_mode):
                    one.unlink()


def _is_had(fd: int, kind: int) -> bool:
    """Whether the lock could be had. Raises OSError where there is no such thing."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
