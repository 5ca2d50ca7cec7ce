"""Keeps what the operator has ordered: on the disk first, then in every worker, and only then is it answered.

    change → written (a job; those that come meanwhile go together into the next one) → told → every worker has it

What cannot be written counts all the same, until the program ends, and the answer says so; but for what asks for more
(`surely`), which is then refused. All of it is written with the next order, and tried every AGAIN_SECONDS; until then
`count_not_kept` tells how much there is. A worker that does not confirm in time is killed: its successor is born with
all.
"""

import errno
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from supervisor.control.lookups import Job, Result
from supervisor.master.change import COMMIT_SECONDS
from supervisor.master.jobs import Jobs
from supervisor.master.pool import Pool, WorkerProcess
from supervisor.operatorstate import (
    UNDO,
    DamagedState,
    OperatorState,
    OrderEntry,
    files_of,
    from_octets,
    is_over,
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


@dataclass(frozen=True)
class WriteState(Job):
    """Writes the file; it may take as long as the disk does. On a full one traces make room: whom an order shuts out is
    to stay outside after a restart, and a trace is only there to be looked at. `at_work`: the names of those that are.
    """

    directory: StateDirectory
    content: bytes = field(repr=False)
    at_work: frozenset[str] = frozenset()

    def perform(self) -> None:
        gone = give_up_traces(self.directory.path, self.directory.program, self.at_work)
        while True:
            try:
                return self.directory.write(self.content)
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
    ) -> None:
        self._directory = directory
        self._loop = loop
        self._log = log
        self._pool = pool
        self._jobs = jobs
        self._has_successor = has_successor
        self._queue: list[_Unkept] = []
        self._writing = False
        self._not_kept: set[tuple[str, str]] = set()
        """Sort and id of orders that are in force, or have been ended, and are not so in the file."""
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
        try:
            self._directory.remove_leftovers()
            content = self._directory.read()
            if content is not None:
                self.state.change(OperatorState(from_octets(content)).entries(time.time()))
                self._undo_unfinished()
        except DamagedState as damaged:
            self._set_aside(str(damaged))
        except OSError as error:
            self._tell_not_kept(error.strerror or str(error))
            return
        if trouble := self._directory.trouble():
            self._tell_not_kept(trouble)

    def _undo_unfinished(self) -> None:
        """Takes back what a program that was killed had begun, and told nobody of."""
        ends = unfinished(self.state.entries(time.time()))
        for sort, ident, _end in ends:
            if UNDO in self.state.of(sort).get(ident, {}):
                self._log(messages.ORDER_UNDONE, order=f"{sort} {ident}")
        self.state.change(ends)

    def _set_aside(self, reason: str) -> None:
        try:
            aside = str(self._directory.set_aside())
        except OSError as error:
            aside = f"nowhere: {error.strerror}"
        self._log(messages.STATE_DAMAGED, directory=self._directory.path, reason=reason, aside=aside)

    def _tell_not_kept(self, reason: str) -> None:
        self._log(messages.STATE_NOT_KEPT, directory=self._directory.path, reason=reason)

    def count_not_kept(self, now: float) -> int:
        """How many orders the next program would not know, or ends of orders; but for those that are over by now."""
        return sum(not is_over(self.state.of(sort).get(ident, {}), now) for sort, ident in self._not_kept)

    def change(self, entries: Iterable[OrderEntry], kept: WhenKept, *, surely: bool = False) -> None:
        """Has orders be in force. `surely`: only if they are on the disk first."""
        self._queue.append(_Unkept(tuple(entries), kept, surely))
        self._write()

    def _write(self, *, again: bool = False) -> None:
        if self._writing or not (self._queue or again):
            return
        group, self._queue = self._queue, []
        if self._has_successor():
            self._written(group, Result(failure=_NEWER))
            return
        self._writing = True
        after = OperatorState(self.state.entries(time.time()))
        after.change(entry for change in group for entry in change.entries)
        entries = after.entries(time.time())
        job = WriteState(self._directory, to_octets(entries), files_of(entries))
        self._jobs.send(job, lambda result: self._written(group, result))

    def _written(self, group: list[_Unkept], result: Result) -> None:
        self._writing = False
        if result.failure is None or result.failure is _NEWER:
            self._not_kept.clear()
        else:
            self._not_kept |= {entry[:2] for change in group if not change.surely for entry in change.entries}
            if group:
                self._tell_not_kept(result.failure)
            self._try_again_later()
        for change in group:
            change.note = "" if result.failure is None else f"not kept when the program ends ({result.failure})"
            if change.surely and result.failure is not None:
                change.kept(False, f"{self._directory.path}: {result.failure}")
            else:
                self._put_in_force(change)
        self._write()

    def _try_again_later(self) -> None:
        if self._not_kept and not self._will_try_again:
            self._will_try_again = True
            self._loop.after(AGAIN_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._will_try_again = False
        self._write(again=bool(self._not_kept))

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
