"""How much the state directory may hold of what is only there to be looked at: the history of configurations, and
traces. They share one bound for each program, and the oldest file goes, whichever of the two it is. What another
program has there, in a state directory that they share, is its own.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisor.runtime.directory import Directory

HISTORY, TRACES = "history", "traces"
"""Directories in the state directory."""


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


def give_up_traces(statedir: Path, program: str) -> Iterator[str]:
    """Removes a program's traces one by one, the oldest first, and gives the name of each; the newest stays. Raises
    OSError.
    """
    for file in sorted(_files(statedir, TRACES, program))[:-1]:
        opened = Directory.open(statedir / TRACES)
        try:
            opened.remove(file.name)
        finally:
            opened.close()
        yield file.name


def _files(statedir: Path, directory: str, program: str) -> list[StoredFile]:
    found: list[StoredFile] = []
    with suppress(FileNotFoundError), os.scandir(statedir / directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and entry.name.startswith((f"{program}.", f"{program}-")):
                    found.append(StoredFile(status.st_mtime_ns, directory, name=entry.name, size=status.st_size))
    return found
