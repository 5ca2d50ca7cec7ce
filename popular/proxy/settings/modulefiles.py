"""The files that authentication modules are made of: what the workers told of them, and whether they are others now.

Each worker opens each module, and reports what it found (`report_on`). The master looks at the files from time to time
(`LookAtModules`, a job that only asks the file system); a module with a file that is not the reported one is reloaded
in all workers, by `pdm check`. A file that cannot be used then changes nothing but the notes: what was read before
stays. One that could not be opened at all by a worker that was born later has the clock among its files (`MINUTE`), so
that it is tried again each minute, whatever it was that failed.
"""

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from popular.pdm.contract import PASSWORD
from supervisor.config import Config, Report
from supervisor.control.language.lookups import Job

SETTLED_SECONDS = 1.0
"""A file that was changed later than that may still be being written."""

Stamp: TypeAlias = tuple[int, ...]
"""Equal if a file is the same, with the same content, owner and mode. () is that of a file that is gone."""


MINUTE = "(the minute)"
"""Among files it is no file but the clock: its stamp is another one each minute."""


class Former(NamedTuple):
    """What a module that is in use has, and its successor must not lack."""

    knew_somebody: bool = False
    """Whether its list of users is not empty. True of those that have no such list."""
    ended: frozenset[str] = frozenset()
    """Its files that end with a line end."""

    def lacks_of(self, ended: Collection[str]) -> str:
        """A file that ended with a line end, and is not among those of the successor; "" if there is none."""
        return min(self.ended - set(ended), default="")


class ModuleFacts(NamedTuple):
    """What a worker found in a module."""

    id: str
    reloads: int
    skipped: int
    files: tuple[tuple[str, Stamp], ...]
    takes: tuple[str, ...]
    """The kinds of credential that it looks at."""
    code: str = ""
    """The digest of its code (loader.code_of)."""
    former: Former = Former()
    """What its successor is held against."""


class LackFacts(NamedTuple):
    """What a worker waits for that had to do without something else than a module."""

    files: tuple[tuple[str, Stamp], ...]


def stamp(status: os.stat_result) -> Stamp:
    """A file's stamp, by what stat(2) says. The change time tells of each change, the modification time may not."""
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size


def stamp_now(path: str) -> Stamp:
    """The stamp of a file as it is now; links are followed, so that a renewal by exchanging a link shows."""
    if path == MINUTE:
        return (int(time.time() // 60),)
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
        return {path: seen for path, seen in found.items() if path == MINUTE or not seen or not _is_new(seen, now)}


def _is_new(seen: Stamp, now: int) -> bool:
    changed = seen[2]
    return now - SETTLED_SECONDS * 1e9 < changed <= now


def report_on(
    ident: str,
    reloads: int,
    notes: Sequence[str],
    *,
    skipped: int,
    files: Mapping[str, Stamp],
    takes: Collection[str],
    code: str = "",
    former: Former,
) -> Report:
    """What a worker tells the master of a module."""
    found = tuple(sorted(files.items()))
    facts = ModuleFacts(ident, reloads, skipped, files=found, takes=tuple(sorted(takes)), code=code, former=former)
    return Report(subject_of(ident), tuple(notes), facts)


def subject_of(ident: str) -> str:
    """What reports on a module are about."""
    return f"module {ident}"


def notes_on(config: Config, ident: str) -> list[str]:
    """What the operator should know of a module."""
    return list(dict.fromkeys(note for report in config.reports_on(subject_of(ident)) for note in report.notes))


def skipped_lines(config: Config, ident: str) -> int:
    """How many bad lines the module's files have."""
    return max((report.facts.skipped for report in config.reports_on(subject_of(ident))), default=0)


def kinds_taken_by(config: Config, ident: str) -> frozenset[str]:
    """The kinds of credential that a module looks at, for who could not open it."""
    kinds = frozenset[str]().union(*(report.facts.takes for report in config.reports_on(subject_of(ident))))
    return kinds or frozenset({PASSWORD})


def former_of(config: Config, ident: str) -> Former:
    """What some worker has that has the module in use, for who opens it later."""
    had = [report.facts.former for report in config.reports_on(subject_of(ident))]
    return Former(any(one.knew_somebody for one in had), frozenset[str]().union(*(one.ended for one in had)))


def is_other_code(config: Config, ident: str, code: str) -> bool:
    """Whether a worker has other code of a module than this."""
    codes = {report.facts.code for report in config.reports_on(subject_of(ident))}
    return bool(code and codes - {"", code})


def awaited(config: Config, ident: str) -> dict[str, Stamp]:
    """What a module is made of that cannot be opened, as it is now: if a stamp is another it is worth trying again."""
    return _stamps_now(path for path, _ in _files(config, ident))


def lack_report(what: str, note: str, file: str) -> Report:
    """What a worker tells the master of something that it does without; `file` may be ""."""
    return Report(what, (note,), LackFacts(tuple(sorted(_stamps_now([file] if file else []).items()))))


def _stamps_now(paths: Iterable[str]) -> dict[str, Stamp]:
    return {path: stamp_now(path) for path in (MINUTE, *paths)}


def watched(config: Config) -> tuple[str, ...]:
    """The files of all modules, and those that are lacking."""
    known = {path for ident in config.things["pdm"] for path, _ in _files(config, ident)}
    known |= {path for _, files in _lacks(config) for path, _ in files}
    return tuple(sorted(known))


def changed(config: Config, found: Mapping[str, Stamp]) -> list[str]:
    """The modules with a file that is another now, or that was not the same for all workers."""
    return [ident for ident in config.things["pdm"] if _differ(_files(config, ident), found)]


def may_be_there_again(config: Config, found: Mapping[str, Stamp]) -> list[str]:
    """What was lacking, and is to be tried again."""
    return list(dict.fromkeys(what for what, files in _lacks(config) if _differ(files, found)))


def _differ(files: Iterable[tuple[str, Stamp]], found: Mapping[str, Stamp]) -> bool:
    return any(found.get(path, seen) != seen for path, seen in files)


def _lacks(config: Config) -> list[tuple[str, tuple[tuple[str, Stamp], ...]]]:
    return [(report.subject, report.facts.files) for report in config.reports if isinstance(report.facts, LackFacts)]


def _files(config: Config, ident: str) -> list[tuple[str, Stamp]]:
    return [file for report in config.reports_on(subject_of(ident)) for file in report.facts.files]
