"""The files of the history of configurations, as jobs: one is written, all are read."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from supervisor.control.files.historyfile import (
    LONGEST_HEAD,
    HistoryEntry,
    NoHistory,
    file_name,
    head_of,
    lines_in,
    number_in,
)
from supervisor.control.language.lookups import Job
from supervisor.runtime.directory import Directory
from supervisor.runtime.statespace import HISTORY, make_room


@dataclass(frozen=True)
class KeepConfiguration(Job):
    """Writes one file, removes those that are too many, and gives the names of these. `unless`: a newer instance keeps
    the history by now; then nothing is done, and it gives None.
    """

    statedir: Path
    program: str
    name: str
    content: bytes = field(repr=False)
    surplus: tuple[str, ...]
    most_octets: int
    unless: Callable[[], bool]

    def perform(self) -> list[str] | None:
        directory = Directory.open(self.statedir / HISTORY, make=True)
        try:
            if not directory.put(self.name, self.content, durable=True, unless=self.unless):
                return None
            for name in self.surplus:
                directory.remove(name)
        finally:
            directory.close()
        return [*self.surplus, *make_room(self.statedir, self.program, self.most_octets)]


class FoundHistory(NamedTuple):
    """What is kept: the entries, the oldest first, the number of the next one, the lines of the newest one, and what is
    wrong with files that are none of ours.
    """

    entries: list[HistoryEntry]
    next_number: int = 1
    lines: list[str] | None = None
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadHistory(Job):
    """Reads what is kept. A file that is none of ours is told, and left alone. Raises OSError where it cannot be told
    what there is.
    """

    statedir: Path
    program: str

    def perform(self) -> FoundHistory:
        try:
            directory = Directory.open(self.statedir / HISTORY)
        except (FileNotFoundError, NotADirectoryError):
            return FoundHistory([])
        try:
            with directory.alone(surely=False):  # what somebody is about to write is found too
                names = [name for name in directory.names() if name.startswith(f"{self.program}.")]
            return self._found(directory, names)
        finally:
            directory.close()

    def _found(self, directory: Directory, names: list[str]) -> FoundHistory:
        entries: list[HistoryEntry] = []
        troubles: list[str] = []
        for name in names:
            try:
                entries.append(self._entry(directory, name))
            except (OSError, NoHistory) as error:
                troubles.append(f"{name}: {error}")
        entries.sort(key=lambda entry: entry.number)
        lines = None
        try:
            if entries:
                lines = lines_in(_octets(directory, file_name(self.program, entries[-1].number)))
        except (OSError, ValueError) as error:
            troubles.append(str(error))
        next_number = max((number_in(name) + 1 for name in names), default=1)
        return FoundHistory(entries, next_number, lines=lines, troubles=tuple(troubles))

    def _entry(self, directory: Directory, name: str) -> HistoryEntry:
        entry = head_of(_octets(directory, name, first_line=True))
        if file_name(self.program, entry.number) != name:
            raise NoHistory("it has the number of another one")
        return entry


def _octets(directory: Directory, name: str, *, first_line: bool = False) -> bytes:
    with open(directory.open_file(name, os.O_RDONLY), "rb") as file:
        return file.readline(LONGEST_HEAD) if first_line else file.read()
