"""Keeps each configuration that was in force: as a file in the state directory, written by a job when it rests.

What one person says in one go is one entry: it is written a second after the last change of it, or ten after the first;
so a file of a thousand commands does not make a thousand files. What a change of configuration leaves as it was, as
a certificate that is read anew, makes no entry, since an rc file shows no difference.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from supervisor.config import Config
from supervisor.control.context import ProgramTables
from supervisor.control.difference import compare, lines_of_config
from supervisor.control.historyfile import (
    LONGEST_HEAD,
    MOST_COMMANDS,
    MOST_KEPT,
    HistoryEntry,
    KeptConfigurations,
    NoHistory,
    file_name,
    head_of,
    lines_in,
    number_in,
    to_octets,
)
from supervisor.control.lookups import Job, Result, run
from supervisor.control.rcfile import COMES
from supervisor.master.jobs import Jobs
from supervisor.master.origin import Origin
from supervisor.runtime import messages
from supervisor.runtime.directory import Directory
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop, Timer
from supervisor.runtime.statespace import HISTORY, make_room

REST_SECONDS = 1.0
LONGEST_SECONDS = 10.0
_MIB = 1 << 20
_START = "(start)"
_PROGRAM = "program"
"""Who has changed something that nobody has said: a configuration that was not confirmed, a host that has moved."""


@dataclass(frozen=True)
class KeepConfiguration(Job):
    """Writes one file, removes those that are too many, and gives the names of these."""

    statedir: Path
    program: str
    name: str
    content: bytes = field(repr=False)
    surplus: tuple[str, ...]
    most_octets: int

    def perform(self) -> list[str]:
        directory = Directory.open(self.statedir / HISTORY, make=True)
        try:
            directory.put(self.name, self.content, durable=True)
            for name in self.surplus:
                directory.remove(name)
        finally:
            directory.close()
        return [*self.surplus, *make_room(self.statedir, self.program, self.most_octets)]


def _signed(origin: Origin) -> tuple[str, str]:
    """Who says it, and why."""
    return origin.name or (_PROGRAM if origin.quiet else ""), origin.reason


@dataclass(eq=False)
class _Pending:
    """Changes of one person that are not written yet, and the configuration that they have led to."""

    origin: Origin
    signed: tuple[str, str]
    config: Config
    since: float = field(default_factory=time.monotonic)
    when: float = field(default_factory=time.time)
    commands: list[str] = field(default_factory=list)
    more: int = 0

    def is_of(self, origin: Origin) -> bool:
        """Whether the same one goes on."""
        return self.origin is origin and self.signed == _signed(origin)

    def add(self, command: str, config: Config) -> None:
        self.config = config
        if len(self.commands) < MOST_COMMANDS:
            self.commands.append(command)
        else:
            self.more += 1


class ConfigHistory:
    """The configurations that are kept, of this run of the program and of those before it."""

    def __init__(
        self,
        statedir: Path,
        program: ProgramTables,
        limits: Mapping[str, int],
        *,
        loop: Loop,
        jobs: Jobs,
        log: Log,
        has_successor: Callable[[], bool],
    ) -> None:
        self._statedir = statedir
        self._program = program
        self._limits = limits
        self._loop = loop
        self._jobs = jobs
        self._log = log
        self._has_successor = has_successor
        self._entries: list[HistoryEntry] = []
        self._next = 1
        self._last: list[str] | None = None
        """The lines of the newest entry."""
        self._pending: _Pending | None = None
        self._start: _Pending | None = None
        """The start configuration, where no directory is made for its sake: it is written before the first change."""
        self._timer: Timer | None = None
        self._unwritten: dict[str, KeepConfiguration] = {}
        """Those that a job has not written yet, by file."""
        self._trouble = ""

    @property
    def kept(self) -> KeptConfigurations:
        """What there is now; also what was not written yet goes to the disk."""
        self._write()
        directory = str(self._statedir / HISTORY)
        return KeptConfigurations(tuple(self._entries), directory, self._trouble, unwritten=tuple(self._unwritten))

    def load(self) -> None:
        """Takes up what is kept. A file that is none of ours is told, and left alone."""
        try:
            directory = Directory.open(self._statedir / HISTORY)
        except OSError:
            return
        try:
            names = [name for name in directory.names() if name.startswith(f"{self._program.name}.")]
            for name in names:
                self._next = max(self._next, number_in(name) + 1)
                self._take_up(directory, name)
            self._entries.sort(key=lambda entry: entry.number)
            if self._entries:
                self._last = lines_in(_octets(directory, self._name(self._entries[-1].number)))
        except (OSError, ValueError) as error:
            self._tell(str(error))
        finally:
            directory.close()

    def _take_up(self, directory: Directory, name: str) -> None:
        try:
            entry = head_of(_first_line(directory, name))
            if self._name(entry.number) != name:
                raise NoHistory("it has the number of another one")
        except (OSError, NoHistory) as error:
            self._tell(f"{name}: {error}")
        else:
            self._entries.append(entry)

    def started(self, origin: Origin, config: Config) -> None:
        """The start configuration is in force."""
        if self._entries or (self._statedir.is_dir() and os.access(self._statedir, os.W_OK)):
            self.changed(origin, _START, config)
        else:
            self._start = _pending(origin, config, _START)

    def changed(self, origin: Origin, command: str, config: Config) -> None:
        """This configuration is in force since now, by this command."""
        if self._start is not None:
            self._pending, self._start = self._start, None
            self._write()
        if self._pending is not None and not self._pending.is_of(origin):
            self._write()
        if self._pending is None:
            self._pending = _pending(origin, config, command)
        else:
            self._pending.add(command, config)
        self._wait(min(REST_SECONDS, self._pending.since + LONGEST_SECONDS - time.monotonic()))

    def close(self) -> None:
        """At the end of the program: what was not written yet goes to the disk."""
        self._queue_pending()
        for job in list(self._unwritten.values()):
            self._written(job.name, run(job))

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.after(max(0.0, seconds), self._write)

    def _write(self) -> None:
        job = self._queue_pending()
        if job is not None:
            self._jobs.send(job, partial(self._written, job.name))

    def _queue_pending(self) -> KeepConfiguration | None:
        """What is to be written now, which is in the list from here on; None: nothing."""
        pending, self._pending = self._pending, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        space = pending.config.variables["tracespace"] * _MIB if pending is not None else 0
        if pending is None or not space or self._has_successor():
            return None
        lines = lines_of_config(pending.config, self._program, self._limits)
        if lines == self._last:
            return None
        entry = self._entry(pending, list(compare(self._last or [], lines)))
        self._entries.append(entry)
        self._last = lines
        surplus = tuple(self._name(old.number) for old in self._entries[:-MOST_KEPT])
        job = self._unwritten[self._name(entry.number)] = KeepConfiguration(
            self._statedir,
            self._program.name,
            name=self._name(entry.number),
            content=to_octets(entry, lines),
            surplus=surplus,
            most_octets=space,
        )
        return job

    def _entry(self, pending: _Pending, differs: list[str]) -> HistoryEntry:
        comes = sum(line.startswith(COMES) for line in differs)
        name, reason = pending.signed
        number, self._next = self._next, self._next + 1
        return HistoryEntry(
            number=number,
            when=pending.when,
            uid=pending.origin.peer.uid,
            pid=pending.origin.peer.pid,
            name=name,
            reason=reason,
            commands=tuple(pending.commands),
            more=pending.more,
            comes=comes,
            goes=len(differs) - comes,
        )

    def _written(self, name: str, result: Result) -> None:
        self._unwritten.pop(name, None)
        if result.failure is not None:
            self._tell(result.failure)
            gone = {name}
        else:
            self._trouble = ""
            gone = set(result.value) if isinstance(result.value, list) else set()
        self._entries = [entry for entry in self._entries if self._name(entry.number) not in gone]

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._log(messages.HISTORY_NOT_KEPT, directory=self._statedir / HISTORY, reason=trouble)

    def _name(self, number: int) -> str:
        return file_name(self._program.name, number)


def _pending(origin: Origin, config: Config, command: str) -> _Pending:
    """The first change of somebody."""
    return _Pending(origin, _signed(origin), config, commands=[command])


def _octets(directory: Directory, name: str) -> bytes:
    with open(directory.open_file(name, os.O_RDONLY), "rb") as file:
        return file.read()


def _first_line(directory: Directory, name: str) -> bytes:
    with open(directory.open_file(name, os.O_RDONLY), "rb") as file:
        return file.readline(LONGEST_HEAD)
