"""The files that authentication modules are made of: what the workers told of them, and whether they are others now.

Each worker opens each module, and reports what it found (`report_on`). The master looks at the files from time to time
(`LookAtModules`, a job that only asks the file system); a module with a file that is not the reported one is reloaded
in all workers, by `pdm check`. A file that cannot be used then changes nothing but the notes: what was read before
stays.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from supervisor.config import Config, Report
from supervisor.control.lookups import Job

SETTLED_SECONDS = 1.0
"""A file that was changed later than that may still be being written."""

Stamp: TypeAlias = tuple[int, ...]
"""Equal if a file is the same, with the same content, owner and mode. () is that of a file that is gone."""


class ModuleFacts(NamedTuple):
    """What a worker found in a module."""

    id: str
    reloads: int
    skipped: int
    files: tuple[tuple[str, Stamp], ...]


def stamp(status: os.stat_result) -> Stamp:
    """A file's stamp, by what stat(2) says. The change time tells of each change, the modification time may not."""
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def stamp_now(path: str) -> Stamp:
    """The stamp of a file as it is now; links are followed, so that a renewal by exchanging a link shows."""
    try:
        return stamp(os.stat(path))
    except OSError:
        return ()


@dataclass(frozen=True)
class LookAtModules(Job):
    """The stamps of files that have settled."""

    paths: tuple[str, ...]

    def perform(self) -> dict[str, Stamp]:
        found = {path: stamp_now(path) for path in self.paths}
        now = time.time_ns()
        return {path: seen for path, seen in found.items() if not seen or not _is_new(seen, now)}


def _is_new(seen: Stamp, now: int) -> bool:
    changed = seen[2]
    return now - SETTLED_SECONDS * 1e9 < changed <= now


def report_on(ident: str, reloads: int, notes: Sequence[str], *, skipped: int, files: Mapping[str, Stamp]) -> Report:
    """What a worker tells the master of a module."""
    return Report(
        subject_of(ident), tuple(notes), ModuleFacts(ident, reloads, skipped, files=tuple(sorted(files.items())))
    )


def subject_of(ident: str) -> str:
    """What reports on a module are about."""
    return f"module {ident}"


def notes_on(config: Config, ident: str) -> list[str]:
    """What the operator should know of a module."""
    return list(dict.fromkeys(note for report in config.reports_on(subject_of(ident)) for note in report.notes))


def skipped_lines(config: Config, ident: str) -> int:
    """How many bad lines the module's files have."""
    return max((report.facts.skipped for report in config.reports_on(subject_of(ident))), default=0)


def watched(config: Config) -> tuple[str, ...]:
    """The files of all modules."""
    known = {path for ident in config.things["pdm"] for path, _ in _files(config, ident)}
    return tuple(sorted(known))


def changed(config: Config, found: Mapping[str, Stamp]) -> list[str]:
    """The modules with a file that is another now, or that was not the same for all workers."""
    return [
        ident
        for ident in config.things["pdm"]
        if any(found.get(path, seen) != seen for path, seen in _files(config, ident))
    ]


def _files(config: Config, ident: str) -> list[tuple[str, Stamp]]:
    return [file for report in config.reports_on(subject_of(ident)) for file in report.facts.files]
