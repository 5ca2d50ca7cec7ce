"""Keeps each configuration that was in force: as a file in the state directory, written by a job when it rests.

What one person says in one go is one entry: it is written a second after the last change of it, or ten after the first;
so a file of a thousand commands does not make a thousand files. What a change of configuration leaves as it was, as
a certificate that is read anew, makes no entry, since an rc file shows no difference.

What cannot be written waits, and the list says so; it is tried again with the next change and every AGAIN_SECONDS, in
its order, so that each entry differs from the one before it. Where a newer instance has kept the history meanwhile
(tenure.py), or it could not be read, it is read before anything is written: else a number would be given twice.

What was answered is missing nowhere: a newer instance that starts is held back until it is written (`hold_back`).
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from supervisor.config import Config
from supervisor.control.commands.difference import compare, lines_of_config
from supervisor.control.files.historyfile import (
    MOST_COMMANDS,
    MOST_KEPT,
    HistoryEntry,
    KeptConfigurations,
    file_name,
    number_in,
    to_octets,
)
from supervisor.control.files.rcfile import COMES
from supervisor.control.language.context import ProgramTables
from supervisor.control.language.lookups import Result, run
from supervisor.master.history_files import FoundHistory, KeepConfiguration, ReadHistory
from supervisor.master.jobs import Jobs
from supervisor.master.origin import Origin
from supervisor.master.tenure import Succession, Tenure
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop, Timer
from supervisor.runtime.statespace import HISTORY

REST_SECONDS = 1.0
LONGEST_SECONDS = 10.0
AGAIN_SECONDS = 60.0
MOST_WAITING = 20
"""So many that could not be written wait to be; the oldest go."""
_MIB = 1 << 20
_START = "(start)"
_BACK = "(back)"
"""What is in force again, since a newer instance has ended."""
_PROGRAM = "program"
"""Who has changed something that nobody has said: a configuration that was not confirmed, a host that has moved."""


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


@dataclass(frozen=True)
class _Unwritten:
    """One that a job is about to write."""

    job: KeepConfiguration
    lines: list[str]
    pending: _Pending


class ConfigHistory:
    """The configurations that are kept, of this run of the program and of those before it."""

    def __init__(
        self,
        statedir: Path,
        program: ProgramTables,
        ceilings: Mapping[str, int],
        *,
        loop: Loop,
        jobs: Jobs,
        log: Log,
        succession: Succession,
    ) -> None:
        self._statedir = statedir
        self._program = program
        self._ceilings = ceilings
        self._loop = loop
        self._jobs = jobs
        self._log = log
        self._succession = succession
        self._tenure = Tenure(succession.has_successor, succession.returns)
        self._unread = False
        """What is kept could not be read."""
        self._reading = False
        self._entries: list[HistoryEntry] = []
        self._next = 1
        self._newest: tuple[int, list[str] | None] = 0, None
        """The number and the lines of the newest entry that is on the disk."""
        self._running: tuple[Origin, Config] | None = None
        """The program itself, and what is in force."""
        self._pending: _Pending | None = None
        self._start: _Pending | None = None
        """The start configuration, where no directory is made for its sake: it is written before the first change."""
        self._timer: Timer | None = None
        self._waiting: list[_Pending] = []
        """Those that are to be written, the oldest first."""
        self._failing = False
        """The last one could not be written: one is tried before the rest."""
        self._unwritten: dict[str, _Unwritten] = {}
        """Those that are on their way to the disk, by file."""
        self._trouble = ""

    @property
    def kept(self) -> KeptConfigurations:
        """What there is now; also what was not written yet goes to the disk."""
        if self._pending is not None:
            self._write()
        return KeptConfigurations(
            tuple(self._entries),
            str(self._statedir / HISTORY),
            self._trouble,
            unwritten=tuple(self._unwritten),
            waiting=len(self._waiting) if self._failing or self._unread else 0,
        )

    def load(self) -> None:
        """Takes up what is kept."""
        self._tenure.begin()
        self._take_up(run(ReadHistory(self._statedir, self._program.name)))

    def _take_up(self, result: Result) -> None:
        found = result.value
        if not isinstance(found, FoundHistory):
            self._unread = True
            self._tell(f"what is kept cannot be read: {result.failure}")
            return
        if self._unread:
            self._unread, self._trouble = False, ""
        self._entries, self._next = found.entries, found.next_number
        self._newest = (self._entries[-1].number if self._entries else 0), found.lines
        for trouble in found.troubles:
            self._tell(trouble)

    def look(self) -> None:
        """Each second: whether a newer instance has ended, of which the newest entries are; and what could not be read
        is tried again, by a time that is waited for.
        """
        if self._must_read() and self._timer is None:
            self._send()

    def _must_read(self) -> bool:
        return self._unread or self._tenure.is_back()

    def _read_anew(self) -> None:
        self._reading = True
        self._tenure.begin()
        self._jobs.send(ReadHistory(self._statedir, self._program.name), self._read)

    def _read(self, result: Result) -> None:
        self._reading = False
        if self._tenure.is_over():  # what was read is not the newest any more
            return
        self._take_up(result)
        if not self._unread:
            self._come_back()
            self._send()
            return
        self._let_come()
        if self._timer is None:
            self._wait(AGAIN_SECONDS)

    def _come_back(self) -> None:
        """What is in force here is so again, and shall be the newest entry."""
        if self._running is not None and self._pending is None:
            self._waiting.append(_pending(*self._running, _BACK))

    def started(self, origin: Origin, config: Config) -> None:
        """The start configuration is in force."""
        if self._entries or (self._statedir.is_dir() and os.access(self._statedir, os.W_OK)):
            self.changed(origin, _START, config)
        else:
            self._start = _pending(origin, config, _START)
        self._running = origin, config

    def changed(self, origin: Origin, command: str, config: Config) -> None:
        """This configuration is in force since now, by this command."""
        if self._running is not None:
            self._running = self._running[0], config
        if self._start is not None:
            self._pending, self._start = self._start, None
            self._write()
        if self._pending is not None and not self._pending.is_of(origin):
            self._write()
        if self._pending is None:
            self._pending = _pending(origin, config, command)
        else:
            self._pending.add(command, config)
        if command != _START:
            self._succession.hold_back()
        self._wait(min(REST_SECONDS, self._pending.since + LONGEST_SECONDS - time.monotonic()))

    def close(self) -> None:
        """At the end of the program: what was not written yet goes to the disk."""
        for one in list(self._unwritten.values()):
            self._written(one, run(one.job))
        if self._reading or self._must_read():
            self.load()
            self._come_back()
        self._queue_pending()
        if self._tenure.has_successor():
            self._leave_out()
        self._failing = False
        while self._waiting and not self._failing and not self._must_read():
            last = self._begin(self._waiting.pop(0))
            if last is not None:
                self._written(last, run(last.job))
        self._succession.let_come()

    def _wait(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.after(max(0.0, seconds), self._write)

    def _write(self) -> None:
        self._queue_pending()
        self._send()

    def _queue_pending(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending is not None:
            self._waiting.append(self._pending)
            self._pending = None
            del self._waiting[:-MOST_WAITING]

    def _send(self) -> None:
        """What waits goes to the disk; where the last one could not, only the oldest, until that is there. Nothing
        before what has to be read is; and that waits for those that are on their way, which have numbers already.
        """
        if self._tenure.has_successor():
            self._leave_out()
        elif self._must_read() and not self._reading and not self._unwritten:
            self._read_anew()
        tried = False
        while self._waiting and not self._reading and not self._must_read():
            if self._failing and (tried or self._unwritten):
                break
            one = self._begin(self._waiting.pop(0))
            if one is not None:
                tried = True
                self._jobs.send(one.job, partial(self._heard, one))
        if self._failing and not self._waiting and not self._unwritten:
            self._failing, self._trouble = False, ""
        self._let_come()

    def _let_come(self) -> None:
        """A newer instance is held back no more when all is written, or what remains cannot be now."""
        on_its_way = bool(self._unwritten) or self._reading
        stuck = self._failing or self._unread
        if not on_its_way and (stuck or not (self._waiting or self._pending)):
            self._succession.let_come()

    def _leave_out(self) -> None:
        """A newer instance keeps the history by now, and knows nothing of what was changed here: the log has it."""
        for pending in self._waiting:
            said = "; ".join(pending.commands)
            if said not in (_START, _BACK):
                reason = f"a newer instance keeps it, and does not know of: {said}"
                self._log(messages.HISTORY_NOT_KEPT, directory=self._statedir / HISTORY, reason=reason)
        self._waiting.clear()

    def _begin(self, pending: _Pending) -> _Unwritten | None:
        """What is to be written now, which is in the list from here on; None: nothing."""
        space = pending.config.variables["tracespace"] * _MIB
        if not space or self._tenure.has_successor():
            return None
        lines = lines_of_config(pending.config, self._program, self._ceilings)
        before = [*self._unwritten.values()][-1].lines if self._unwritten else self._newest[1]
        if lines == before:
            return None
        entry = self._entry(pending, list(compare(before or [], lines)))
        self._entries.append(entry)
        surplus = tuple(self._name(old.number) for old in self._entries[:-MOST_KEPT])
        job = KeepConfiguration(
            self._statedir,
            self._program.name,
            name=self._name(entry.number),
            content=to_octets(entry, lines),
            surplus=surplus,
            most_octets=space,
            unless=self._tenure.ends(),
        )
        one = self._unwritten[job.name] = _Unwritten(job, lines, pending)
        return one

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

    def _heard(self, one: _Unwritten, result: Result) -> None:
        self._written(one, result)
        if not self._failing:
            self._send()
            return
        self._let_come()
        if self._timer is None:
            self._wait(AGAIN_SECONDS)

    def _written(self, one: _Unwritten, result: Result) -> None:
        name, number = one.job.name, number_in(one.job.name)
        self._unwritten.pop(name, None)
        self._failing = result.failure is not None
        if result.failure is not None:
            self._tell(result.failure)
        if not isinstance(result.value, list):  # it failed, or a newer instance has come before
            gone = {name}
            self._waiting = sorted([one.pending, *self._waiting], key=lambda pending: pending.since)
            if number == self._next - 1:
                self._next = number
        else:
            self._trouble = ""
            gone = set(result.value)
            self._newest = max(self._newest, (number, one.lines), key=lambda newest: newest[0])
            # What is older than the newest entry has no place any more.
            self._waiting = [pending for pending in self._waiting if pending.since >= one.pending.since]
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
