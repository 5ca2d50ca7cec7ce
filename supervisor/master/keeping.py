"""Keeps what the operator has ordered: on the disk first, then in every worker, and only then is it answered.

    change → written (a job; those that come meanwhile go together into the next one) → told → every worker has it

What cannot be written counts all the same, until the program ends, and the answer says so; but for what asks for more
(`surely`), which is then refused. All of it is written with the next order, and tried every AGAIN_SECONDS; until then
`count_not_kept` tells how much there is. What is kept and was not read, since a newer instance has had it meanwhile
(tenure.py) or it could not be read, is read before anything is written, and never overwritten unread; what is ordered
until then stays in force beside it. A worker that does not confirm in time is killed: its successor is born with all.
"""

import errno
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from supervisor.control.language.lookups import Job, Result, run
from supervisor.master.change import COMMIT_SECONDS
from supervisor.master.jobs import Jobs
from supervisor.master.pool import Pool, WorkerProcess
from supervisor.master.tenure import Tenure
from supervisor.operatorstate import (
    UNDO,
    DamagedState,
    OperatorState,
    OrderEntry,
    OrderKey,
    difference,
    files_of,
    from_octets,
    is_over,
    said_elsewhere,
    to_octets,
    unfinished,
)
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop
from supervisor.runtime.statedir import StateDirectory
from supervisor.runtime.statespace import give_up_traces
from supervisor.workerline import ChangeState, StateChanged

WhenKept = Callable[[bool, str], None]
"""Called once: whether it counts now, and why it is not kept beyond this program, or not in force; "" if it is."""

AGAIN_SECONDS = 30.0
"""So long after what could not be written it is tried again."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NEWER = "a newer instance of the program keeps what is ordered"
_NOT_IN_FORCE = "nothing of what is kept there is in force, and it is not overwritten"
READ_AGAIN_SECONDS = 60.0
"""So long after what cannot be read it is tried again, if nothing is ordered before."""


@dataclass(frozen=True)
class ReadState(Job):
    """Reads what is kept; gives what is wrong with a file that is damaged, and None if there is none."""

    directory: StateDirectory

    def perform(self) -> list[OrderEntry] | DamagedState | None:
        content = self.directory.read()
        try:
            return None if content is None else from_octets(content)
        except DamagedState as damaged:
            return damaged


@dataclass(frozen=True)
class WriteState(Job):
    """Writes the file; it may take as long as the disk does. On a full one traces make room: whom an order shuts out is
    to stay outside after a restart, and a trace is only there to be looked at. `at_work`: the names of those that are.
    `unless`: a newer instance keeps it by now. Gives whether it was written.
    """

    directory: StateDirectory
    content: bytes = field(repr=False)
    at_work: frozenset[str] = frozenset()
    unless: Callable[[], bool] = lambda: False

    def perform(self) -> bool:
        gone = give_up_traces(self.directory.path, self.directory.program, self.at_work)
        while True:
            try:
                return self.directory.write(self.content, self.unless)
            except OSError as error:
                if error.errno not in _FULL or next(gone, None) is None:
                    raise


@dataclass(eq=False)
class _Unkept:
    entries: tuple[OrderEntry, ...]
    kept: WhenKept
    surely: bool
    note: str = ""
    unconfirmed: set[WorkerProcess] = field(default_factory=set)


class StateKeeper:
    """The orders of a running program, and those that are on their way to be in force."""

    def __init__(
        self,
        directory: StateDirectory,
        loop: Loop,
        log: Log,
        *,
        pool: Pool,
        jobs: Jobs,
        has_successor: Callable[[], bool],
        returns: Callable[[], int],
        took_up: Callable[[list[OrderEntry], list[OrderEntry]], None],
        unheeded: Callable[[Iterable[OrderEntry]], Sequence[OrderEntry]] = lambda _entries: (),
    ) -> None:
        """`returns`: how often a newer instance has come and gone. `took_up` hears what reading has changed, and what
        of that somebody has said: new orders, ones that were said anew, ends. `unheeded`: see Program.
        """
        self._directory = directory
        self._loop = loop
        self._log = log
        self._pool = pool
        self._jobs = jobs
        self._tenure = Tenure(has_successor, returns)
        self._took_up = took_up
        self._unheeded = unheeded
        self._queue: list[_Unkept] = []
        self._writing = False
        """Or reading, or putting into force what was written: what is ordered meanwhile waits, and goes together."""
        self._unread = ""
        """Why that which is kept could not be read."""
        self._read_at = 0.0
        self._ours: set[OrderKey] = set()
        """Those that are in force, or have been ended, and are not so in the file."""
        self._will_try_again = False
        self._number = 0
        self._told: dict[int, _Unkept] = {}
        self.state = OperatorState()
        """To be changed by nobody else."""

    @property
    def directory(self) -> str:
        """Where it is all kept."""
        return str(self._directory.path)

    def load(self) -> None:
        """Takes up what is kept. Whatever is wrong with it is told, and stops nothing."""
        self._directory.remove_leftovers()
        self._begin_reading()
        self._take_up(run(ReadState(self._directory)))
        if not self._unread and (trouble := self._directory.trouble()):
            self._tell_not_kept(trouble)

    def look(self) -> None:
        """Each second: takes up what a newer instance has left, and tries again what could not be read."""
        if self._writing or self._tenure.has_successor():
            return
        if self._tenure.is_back() or (self._unread and self._is_time_to_read()):
            self._read_anew()

    def _is_time_to_read(self) -> bool:
        return time.monotonic() >= self._read_at + READ_AGAIN_SECONDS

    def _begin_reading(self) -> None:
        self._tenure.begin()
        self._read_at = time.monotonic()

    def _read_anew(self) -> None:
        self._writing = True
        self._begin_reading()
        self._jobs.send(ReadState(self._directory), self._read)

    def _read(self, result: Result) -> None:
        changed = None if self._tenure.is_over() else self._take_up(result)
        if changed is not None:
            self._log(messages.STATE_TAKEN_UP, directory=self._directory.path, changed=changed)
        self._writing = False
        if not self._unread:
            self._write(again=bool(self._ours))  # what was ordered until then is kept beside it
        elif self._queue:
            group, self._queue = self._queue, []
            self._written(group, Result(failure=self._unread))

    def _take_up(self, result: Result) -> int | None:
        """Puts what is kept into force, in place of all but what is ours; gives how many orders that has changed. None:
        there was nothing to take up; what is in force stays, and is to be written.
        """
        self._unread = ""
        if result.failure is not None:
            self._unread = f"{result.failure}; {_NOT_IN_FORCE}"
            self._tell_not_kept(self._unread)
            return None
        if isinstance(result.value, DamagedState):
            self._set_aside(str(result.value))
        now = time.time()
        before = self.state.entries(now)
        if not isinstance(result.value, list):
            if not self._unread:
                self._ours |= {entry[:2] for entry in before}
            return None
        # What is under way here goes on: another instance may have taken it for what a killed program has left.
        ours = self._ours | {entry[:2] for entry in unfinished(before)}
        kept = OperatorState(entry for entry in result.value if entry[:2] not in ours)
        self._undo_unfinished(kept, now)
        kept.change(entry for entry in before if entry[:2] in ours)
        changes = difference(before, kept.entries(now))
        if changes:
            self._put_in_force(_Unkept(tuple(changes), lambda _done, _unkept: None, surely=False))
            self._took_up(changes, said_elsewhere(before, changes))
            self._tell_unheeded(changes)
        return len(changes)

    def _tell_unheeded(self, entries: Iterable[OrderEntry]) -> None:
        """Nothing comes of them here: they are of another release, or written by people."""
        for sort, ident, _value in self._unheeded(one for one in entries if one.value is not None):
            self._log(messages.ORDER_UNHEEDED, order=f"{sort} {ident[:80]}")

    def _undo_unfinished(self, kept: OperatorState, now: float) -> None:
        """Takes back what a program that was killed had begun, and told nobody of."""
        ends = unfinished(kept.entries(now))
        for sort, ident, _end in ends:
            if UNDO in kept.of(sort).get(ident, {}):
                self._log(messages.ORDER_UNDONE, order=f"{sort} {ident}")
        kept.change(ends)

    def _set_aside(self, reason: str) -> None:
        try:
            aside = str(self._directory.set_aside())
        except OSError as error:
            aside = f"nowhere: {error.strerror}"
            self._unread = f"{reason}; {_NOT_IN_FORCE}"
        self._log(messages.STATE_DAMAGED, directory=self._directory.path, reason=reason, aside=aside)

    def _tell_not_kept(self, reason: str) -> None:
        self._log(messages.STATE_NOT_KEPT, directory=self._directory.path, reason=reason)

    def count_not_kept(self, now: float) -> int:
        """How many orders the next program would not know, or ends of orders; but for those that are over by now, and
        where there is a newer instance, which keeps what is ordered there.
        """
        if self._tenure.has_successor():
            return 0
        return sum(not is_over(self.state.of(sort).get(ident, {}), now) for sort, ident in self._ours)

    def change(self, entries: Iterable[OrderEntry], kept: WhenKept, *, surely: bool = False) -> None:
        """Has orders be in force. `surely`: only if they are on the disk first."""
        self._queue.append(_Unkept(tuple(entries), kept, surely))
        self._write()

    def _write(self, *, again: bool = False) -> None:
        if self._writing or not (self._queue or again):
            return
        if self._tenure.is_back() or (self._unread and not self._tenure.has_successor()):
            self._read_anew()
            return
        group, self._queue = self._queue, []
        if self._tenure.has_successor():
            self._written(group, Result(failure=_NEWER))
            return
        self._writing = True
        after = OperatorState(self.state.entries(time.time()))
        after.change(entry for change in group for entry in change.entries)
        entries = after.entries(time.time())
        job = WriteState(self._directory, to_octets(entries), files_of(entries), unless=self._tenure.ends())
        self._jobs.send(
            job, lambda result: self._written(group, Result(failure=_NEWER) if result.value is False else result)
        )

    def _written(self, group: list[_Unkept], result: Result) -> None:
        self._writing = True  # what is ordered next must not be written before all of these are in `state`
        if result.failure is None:
            self._ours.clear()
        else:
            self._ours |= {entry[:2] for change in group if not change.surely for entry in change.entries}
            if result.failure is not _NEWER:
                if group:
                    self._tell_not_kept(result.failure)
                self._try_again_later()
        for change in group:
            change.note = "" if result.failure is None else f"not kept when the program ends ({result.failure})"
            if change.surely and result.failure is not None:
                change.kept(False, f"{self._directory.path}: {result.failure}")
            else:
                self._put_in_force(change)
        self._writing = False
        self._write()

    def _try_again_later(self) -> None:
        if self._ours and not self._unread and not self._will_try_again:  # what is unread has a time of its own
            self._will_try_again = True
            self._loop.after(AGAIN_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._will_try_again = False
        self._write(again=bool(self._ours))

    def _put_in_force(self, change: _Unkept) -> None:
        self.state.change(change.entries)
        self._number += 1
        number = self._number
        change.unconfirmed = set(self._pool.workers)
        self._told[number] = change
        self._pool.tell_all(ChangeState(number, change.entries))
        if change.unconfirmed:
            self._loop.after(COMMIT_SECONDS, lambda: self._too_slow(number))
        self._look_whether_done(number)

    def hear(self, worker: WorkerProcess, changed: StateChanged) -> None:
        """A worker has it."""
        if changed.number in self._told:
            self._told[changed.number].unconfirmed.discard(worker)
            self._look_whether_done(changed.number)

    def forget(self, worker: WorkerProcess) -> None:
        """A worker is dead."""
        for number, change in list(self._told.items()):
            change.unconfirmed.discard(worker)
            self._look_whether_done(number)

    def _look_whether_done(self, number: int) -> None:
        if not self._told[number].unconfirmed:
            change = self._told.pop(number)
            change.kept(True, change.note)

    def _too_slow(self, number: int) -> None:
        if number in self._told:
            for worker in self._told[number].unconfirmed:
                self._pool.signal(worker, signal.SIGKILL)
