"""How much the state directory may hold of what is only there to be looked at: the history of configurations, and
traces. They share one bound for each program, and the oldest file goes, whichever of the two it is. What another
program has there, in a state directory that they share, is its own.
"""

import fcntl
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisor.runtime.directory import Directory

HISTORY, TRACES = "history", "traces"
"""Directories in the state directory."""

_BLOCK = 4096
"""Octets of a disk that a file has at least: a smaller one makes no room by being cut."""
_WHY_CUT = b"they made room for what was ordered, on a full disk"
_MISSING = re.compile(rb"- \+0\.000000 -- ([0-9,]+) octets are missing here: %b\n" % _WHY_CUT)


class StoredFile(NamedTuple):
    """A file there; the oldest comes first when they are sorted."""

    changed_ns: int
    directory: str
    name: str
    size: int


def too_many(files: Iterable[StoredFile], most_octets: int) -> list[StoredFile]:
    """The oldest files, without which the rest is not more than that. The newest is never one of them."""
    newest_first = sorted(files, reverse=True)
    total = 0
    for place, file in enumerate(newest_first):
        total += file.size
        if total > most_octets and place > 0:
            return newest_first[place:]
    return []


def make_room(statedir: Path, program: str, most_octets: int) -> list[str]:
    """Removes the oldest files of a program beyond the bound; gives the names of those of the history that went. Raises
    OSError.
    """
    files = [file for directory in (HISTORY, TRACES) for file in _files(statedir, directory, program)]
    gone = too_many(files, most_octets)
    for directory in {file.directory for file in gone}:
        opened = Directory.open(statedir / directory)
        try:
            for file in gone:
                if file.directory == directory:
                    opened.remove(file.name)
        finally:
            opened.close()
    return [file.name for file in gone if file.directory == HISTORY]


def give_up_traces(statedir: Path, program: str, at_work: Collection[str] = ()) -> Iterator[str]:
    """Makes room by a program's traces, one by one, the oldest first, and gives the name of each; the newest stays.
    Those that are over go; those at work come after them, and are cut down to a line that says so. Raises OSError.
    """
    files = sorted(_files(statedir, TRACES, program))[:-1]
    over = [file for file in files if file.name not in at_work]
    cut = [file for file in files if file.name in at_work and file.size > _BLOCK]
    for do, file in [(Directory.remove, file) for file in over] + [(_cut, file) for file in cut]:
        opened = Directory.open(statedir / TRACES)
        try:
            do(opened, file.name)
        finally:
            opened.close()
        yield file.name


def _cut(directory: Directory, name: str) -> None:
    """Leaves the first line of a trace, which tells whose it is, and one that tells how much was after it. Whoever
    writes there holds the lock while he does, and goes on after them. Raises OSError.
    """
    with open(directory.open_file(name, os.O_RDWR), "rb+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, begin = os.fstat(file.fileno()), file.read(_BLOCK)
        head = begin[: begin.find(b"\n") + 1]
        missing = status.st_size - len(head)
        if said := _MISSING.match(begin, len(head)):
            missing += int(said[1].replace(b",", b"")) - len(said[0])
        left = head + b"- +0.000000 -- %b octets are missing here: %b\n" % (f"{missing:,}".encode(), _WHY_CUT)
        os.pwrite(file.fileno(), left, 0)
        os.ftruncate(file.fileno(), len(left))
        os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))


def _files(statedir: Path, directory: str, program: str) -> list[StoredFile]:
    found: list[StoredFile] = []
    with suppress(FileNotFoundError), os.scandir(statedir / directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and entry.name.startswith((f"{program}.", f"{program}-")):
                    found.append(StoredFile(status.st_mtime_ns, directory, name=entry.name, size=status.st_size))
    return found
