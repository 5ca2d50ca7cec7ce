"""One change of the config at a time: first all workers try it, and only if all can, all take it. Its phases:

    OPENING      get the listening sockets at ports that are new
    PREPARING    every worker tries the config; all Ready → it can be the running one
    JOINING      get more listening sockets at ports in use: from here on clients may wait in them
    COMMITTING   every worker takes it; all InForce → from now on everybody serves the new config
    CLOSING      sockets that are wanted no more were silenced at the commit; now they are emptied, then closed

A phase that fails before the commit takes everything back: nothing has changed, and the reply says what failed. After
the commit nothing can fail any more; a worker that cannot take the config, or not in time, is killed, because its
successor starts with the new one. (A worker born while JOINING tries the config after the commit.) Who waits in the
queue of a socket that is closed is served under the config that let him in.

What no worker has tried is never in force: where none sits, a change waits for one to be born, and is refused if none
comes. Only what takes things away and leaves the rest as it is may pass: it must be possible to get rid of a thing with
which no worker can live.

A trial goes as far as PREPARING and is taken back then; so does a change that cannot have its sockets, to tell what
else is wrong. What joins a port in use comes that late because a client that the kernel has put into its queue would be
lost if it were taken back.
"""

import enum
import signal
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from supervisor.config import Config, Report
from supervisor.control.language.outcome import ThingName
from supervisor.master.listeners import Listeners
from supervisor.master.pool import Pool, WorkerProcess
from supervisor.program import Program
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop, Timer
from supervisor.runtime.together import together
from supervisor.sockets.listener import ListenerCopy
from supervisor.sockets.sources import HALF_OPEN_SECONDS
from supervisor.table.indexes import CounterIndexes
from supervisor.workerline import Abort, Born, Close, Commit, Leaving, ListenersClosed, Prepare, Ready, Unable
from supervisor.workerline import InForce as InForceNote

PREPARE_SECONDS = 60.0
"""A module may read a large file."""
BIRTH_SECONDS = 10.0
"""For which a change waits for a worker, if none sits in any slot."""
COMMIT_SECONDS = 10.0

ChangeDone = Callable[[str | None], None]
"""Called once at the end: None, or why nothing was changed."""


class _ChangePhase(enum.Enum):
    OPENING = enum.auto()
    PREPARING = enum.auto()
    JOINING = enum.auto()
    COMMITTING = enum.auto()
    CLOSING = enum.auto()


@dataclass(eq=False)
class _PendingChange:
    config: Config
    seed: bytes
    done: ChangeDone
    trial: bool
    phase: _ChangePhase = _ChangePhase.OPENING
    opened: list[ListenerCopy] = field(default_factory=list)
    joining: list[ListenerCopy] = field(default_factory=list)
    told: set[WorkerProcess] = field(default_factory=set)
    surplus: list[ListenerCopy] = field(default_factory=list)
    waiting_for: set[Any] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    """Why it comes to nothing, whatever the workers say: they are asked all the same, so that all can be told at once.
    """
    is_tried: bool = False
    """A worker can serve it; or it takes away only, and need not be tried."""
    found: dict[WorkerProcess, tuple[Report, ...]] = field(default_factory=dict)
    more_workers: bool = False
    timer: Timer | None = None


class ChangeEvents(Protocol):
    """What the change of a config tells the master."""

    def committed(self, config: Config) -> None:
        """This config is the running one from now on."""

    def taken_back(self) -> None:
        """A change has failed, and nothing has changed."""


class Changes:
    """Holds the running config and the one change that may be under way. `first`: the config of the start options."""

    def __init__(
        self,
        program: Program,
        first: Config,
        loop: Loop,
        *,
        log: Log,
        indexes: CounterIndexes,
        pool: Pool,
        listeners: Listeners,
        events: ChangeEvents,
    ) -> None:
        self.first = self.running = first
        self._log = log
        self.reports: tuple[Report, ...] = ()
        """What the workers found when they tried the last config."""
        self._found: dict[WorkerProcess, tuple[Report, ...]] = {}
        """What each worker found when it made its service of the running config."""
        self._last_tried = first.generation
        self._program = program
        self._loop = loop
        self._indexes = indexes
        self._pool = pool
        self._listeners = listeners
        self._change: _PendingChange | None = None
        self._recycled: list[WorkerProcess] = []
        """Who goes when the change is over: until then only they can empty the queues of the sockets that it closes."""
        self._events = events

    @property
    def under_way(self) -> bool:
        """Whether a change, or a trial, has begun and is not over."""
        return self._change is not None

    def stays(self, thing: ThingName) -> bool:
        """Whether it is there, and also when the change that is under way is over."""
        coming = self._change.config if self._change is not None and not self._change.trial else self.running
        return all(thing.id in config.things[thing.sort] for config in (self.running, coming))

    def begin(
        self, config: Config, seed: bytes, done: ChangeDone, *, trial: bool = False, proven: bool = False
    ) -> None:
        """Starts a change, or a trial that changes nothing; to be called only when the one before is done. `proven`:
        the config was in force before, and comes back also where nobody lives who could try it.
        """
        assert self._change is None
        # A generation that was taken back keeps its number: a late message about it must not be taken for another's.
        self._last_tried += 1
        numbered = replace(config, generation=self._last_tried)
        if not trial:
            indexes = self._indexes.settle(config.things, self.running.things)
            numbered = replace(numbered, counter_indexes=indexes)
        change = self._change = _PendingChange(numbered, seed, done, trial=trial)
        change.is_tried = not trial and (proven or _takes_away_only(self.running, config))
        more = change.config.variables["workers"] > self.running.variables["workers"]
        change.more_workers = more and not trial
        wanted = self._program.listeners(change.config)
        missing = self._listeners.missing(wanted, 1 if trial else change.config.variables["workers"])
        ports = self._listeners.ports()
        change.joining = [copy for copy in missing if copy[0].address[1] in ports]
        self._enter(change, _ChangePhase.OPENING, trial=str(trial).lower(), missing=len(missing))
        self._open(change, [copy for copy in missing if copy[0].address[1] not in ports])

    def _open(self, change: _PendingChange, copies: list[ListenerCopy]) -> None:
        """Gets listening sockets, and goes on, or takes the change back. One that was abandoned gives them back."""

        def opened(reason: str | None) -> None:
            if copies:
                self._log.debug("NET", "listening_opened", sockets=_named(copies), reason=reason or "")
            if change is not self._change:
                self._listeners.close(copies if reason is None else [])
                return
            if reason is not None:
                if change.phase is _ChangePhase.OPENING and not change.is_tried:
                    change.faults.append(reason)
                    self._prepare_all(change)
                else:
                    self._take_back(reason)
                return
            change.opened += copies
            if change.trial:
                self._listeners.silence(copies)
            if change.phase is _ChangePhase.OPENING:
                self._prepare_all(change)
            else:
                self._commit(change)
                self._pass_phases()

        self._listeners.open(copies, change.config.variables["backlog"], opened)

    def abandon(self, reason: str) -> None:
        """The program ends: what is not in force yet will not be."""
        if self._change is not None and self._change.phase in (
            _ChangePhase.OPENING,
            _ChangePhase.PREPARING,
            _ChangePhase.JOINING,
        ):
            self._take_back(reason)

    def _prepare_all(self, change: _PendingChange) -> None:
        self._enter(change, _ChangePhase.PREPARING, workers=len(self._pool.seated))
        self._wait_at_most(change, PREPARE_SECONDS, self._too_slow_to_prepare)
        for worker in self._pool.seated:
            if worker not in change.told:
                self._prepare(change, worker)
        self._pass_phases_or_await_birth(change)

    def _pass_phases_or_await_birth(self, change: _PendingChange) -> None:
        if not change.waiting_for and not change.is_tried:
            self._wait_at_most(change, BIRTH_SECONDS, self._nobody_to_try)
        self._pass_phases()

    def include(self, worker: WorkerProcess) -> None:
        """A worker was born with the running config; if another one is being prepared, it has to try that too."""
        change = self._change
        if change is not None and change.phase is _ChangePhase.PREPARING:
            if not change.waiting_for:
                self._wait_at_most(change, PREPARE_SECONDS, self._too_slow_to_prepare)
            self._prepare(change, worker)

    def _prepare(self, change: _PendingChange, worker: WorkerProcess) -> None:
        change.told.add(worker)
        change.waiting_for.add(worker)
        self._pool.ask(worker, Prepare(change.config, anew=change.trial), self.hear)

    def hear(self, worker: WorkerProcess, message: object) -> None:
        """A worker's Born, Ready, Unable, InForce, ListenersClosed or Leaving. One about another generation is old
        news.
        """
        if isinstance(message, Born) and message.generation == self.running.generation:
            self._found[worker] = message.reports
            self._tell_news()
        change = self._change
        if change is None:
            return
        if "MAIN" in self._log.options:
            kind = type(message).__name__.lower()
            self._log.debug("MAIN", "change_heard", note=kind, slot=worker.slot, worker=worker.pid)
        current = getattr(message, "generation", None) == change.config.generation
        match message:
            case Unable(_, reason) if current and change.phase is _ChangePhase.PREPARING:
                self._take_back(reason)
                return
            case Ready(_, reports) if current and change.phase is _ChangePhase.PREPARING:
                change.waiting_for.discard(worker)
                change.is_tried = True
                change.found[worker] = reports
            case Ready(_, reports) if current and change.phase is _ChangePhase.COMMITTING:
                self._found[worker] = reports
                self._tell_commit(change, worker)
            case Unable() if current and change.phase is _ChangePhase.COMMITTING:
                self._pool.signal(worker, signal.SIGKILL)
            case InForceNote() if current and change.phase is _ChangePhase.COMMITTING:
                change.waiting_for.discard(worker)
            case ListenersClosed() | Leaving() if change.phase is _ChangePhase.CLOSING and worker in change.waiting_for:
                change.waiting_for.discard(worker)
            case _:
                return  # such as the Leaving of a worker that is recycled: queues that are not emptied yet stay open
        self._pass_phases()

    def _tell_news(self) -> None:
        """A worker was born with the running config: what it found counts, and what only dead ones found no longer."""
        had = {(report.subject, note) for report in self.running.reports for note in report.notes}
        reports = _each_once(self._found[worker] for worker in self._pool.seated if worker in self._found)
        self.running = replace(self.running, reports=reports)
        news = {(report.subject, note): None for report in reports for note in report.notes}
        for subject, note in news:
            if (subject, note) not in had:
                self._log(messages.CONFIG_NOTE, of=subject, note=note)

    def forget(self, worker: WorkerProcess) -> None:
        """A worker died. If it died trying, its successors would too; otherwise nobody waits for the dead: one that was
        asked to go, or could not even begin to serve the running config, tells nothing about the next one.
        """
        self._found.pop(worker, None)
        change = self._change
        if change is None or worker not in change.waiting_for:
            return
        if change.phase is not _ChangePhase.PREPARING:
            change.waiting_for.discard(worker)
            self._pass_phases()
        elif worker.serving and not worker.dismissed:
            self._take_back(f"worker {worker.slot} died while it tried this; nothing was changed")
        elif worker.dismissed or self._pool.seated or change.is_tried:
            change.waiting_for.discard(worker)
            self._pass_phases_or_await_birth(change)
        else:
            self._nobody_to_try()

    def dismiss(self, worker: WorkerProcess) -> None:
        """A worker is recycled: it may go, once nobody waits in a queue that its successor does not have."""
        if self._change is not None and self._change.surplus:
            self._recycled.append(worker)
        else:
            self._pool.dismiss(worker, empty=False)

    def _pass_phases(self) -> None:
        """Goes through as many phases as nobody has to be waited for."""
        change = self._change
        while change is not None and change is self._change and not change.waiting_for:
            match change.phase:
                case _ChangePhase.PREPARING if not change.is_tried:
                    return
                case _ChangePhase.PREPARING if change.trial or change.faults:
                    self._take_back(None)
                case _ChangePhase.PREPARING if change.joining:
                    self._join(change)
                case _ChangePhase.PREPARING:
                    self._commit(change)
                case _ChangePhase.JOINING:
                    return
                case _ChangePhase.COMMITTING:
                    if self._close_surplus(change):
                        return
                case _:
                    self._listeners.close(change.surplus)
                    self._finish(None)

    def _join(self, change: _PendingChange) -> None:
        self._enter(change, _ChangePhase.JOINING, sockets=len(change.joining))
        assert change.timer is not None
        change.timer.cancel()
        copies, change.joining = change.joining, []
        self._open(change, copies)

    def _commit(self, change: _PendingChange) -> None:
        self._found = dict(change.found)
        reports = _each_once(change.found.values()) if change.found else self.running.reports  # nobody tried it
        self.running = replace(change.config, reports=reports)
        change.surplus = self._listeners.surplus(
            self._program.listeners(self.running), self.running.variables["workers"]
        )
        self._listeners.silence(change.surplus)
        self._enter(change, _ChangePhase.COMMITTING, surplus=len(change.surplus))
        seated = set(self._pool.seated)
        self._wait_at_most(
            change, COMMIT_SECONDS if seated <= change.told else PREPARE_SECONDS, self._too_slow_to_commit
        )
        change.waiting_for = set(seated)
        if change.seed:
            ssl.RAND_add(change.seed, float(len(change.seed)))
        for worker in self._pool.seated:
            if worker in change.told:
                self._tell_commit(change, worker)
            else:
                self._prepare(change, worker)
        self._events.committed(self.running)

    def _tell_commit(self, change: _PendingChange, worker: WorkerProcess) -> None:
        lent = self._listeners.of_slot(worker.slot, change.opened)
        fds = [listening.fileno() for listening in lent.values()]
        self._pool.ask(worker, Commit(change.config.generation, tuple(lent), change.seed), self.hear, fds=fds)

    def _close_surplus(self, change: _PendingChange) -> bool:
        """Begins the last phase; says whether it has to wait."""
        self._enter(change, _ChangePhase.CLOSING, surplus=len(change.surplus))
        if change.surplus:
            self._log.debug("NET", "listening_closing", sockets=_named(change.surplus))
        if not change.surplus:
            return False
        self._wait_at_most(change, HALF_OPEN_SECONDS, self._empty_surplus)
        return True

    def _empty_surplus(self) -> None:
        change = self._change
        assert change is not None
        self._wait_at_most(change, COMMIT_SECONDS, self._too_slow_to_commit)
        for worker in list(self._pool.seated):
            mine = self._listeners.of_slot(worker.slot, change.surplus)
            if worker.slot >= self.running.variables["workers"]:
                change.waiting_for.add(worker)
                self._pool.dismiss(worker)
            elif mine:
                change.waiting_for.add(worker)
                self._pool.ask(worker, Close(change.config.generation, tuple(mine)), self.hear)
        self._pass_phases()

    def _enter(self, change: _PendingChange, phase: _ChangePhase, **fields: object) -> None:
        change.phase = phase
        step = phase.name.lower()  # people's tools know it by this word
        self._log.debug("MAIN", "change_step", "-", step=step, generation=change.config.generation, **fields)

    def _wait_at_most(self, change: _PendingChange, seconds: float, call: Callable[[], None]) -> None:
        """From here on the phase has so many seconds; then `call` says what comes of it."""
        if change.timer is not None:
            change.timer.cancel()
        change.timer = self._loop.after(seconds, call)

    def _take_back(self, reason: str | None) -> None:
        change = self._change
        assert change is not None
        for worker in self._pool.seated:
            if worker in change.told:
                self._pool.tell(worker, Abort(change.config.generation))
        self._listeners.close(change.opened)
        faults = [*change.faults, *([reason] if reason is not None else [])]
        self._finish(together(faults) if faults else None)

    def _finish(self, reason: str | None) -> None:
        change, self._change = self._change, None
        assert change is not None
        self.reports = _each_once([*change.found.values(), self._not_born(change)])
        if change.timer is not None:
            change.timer.cancel()
        self._log.debug("MAIN", "change_over", generation=change.config.generation, reason=reason or "")
        recycled, self._recycled = self._recycled, []
        for worker in recycled:
            if worker in self._pool.seated:
                self._pool.dismiss(worker, empty=False)
        if not change.trial:
            self._indexes.settle(self.running.things)  # and takes away those of what did not come, or is gone
            if reason is not None:
                self._events.taken_back()
        change.done(reason)

    def _not_born(self, change: _PendingChange) -> tuple[Report, ...]:
        """The workers that this change wants, and that are not to be had."""
        shortage = self._pool.shortage if change.more_workers else ""
        return (Report("workers", (shortage,)),) if shortage else ()

    def _nobody_to_try(self) -> None:
        assert self._change is not None
        if self._change.faults:
            self._take_back(None)
            return
        why = f": {self._pool.trouble}" if self._pool.trouble else ""
        self._take_back(f"no worker lives that could try this{why}; nothing was changed")

    def _too_slow_to_prepare(self) -> None:
        assert self._change is not None
        slots = ", ".join(str(worker.slot) for worker in self._change.waiting_for)
        self._take_back(f"worker {slots} did not answer within {PREPARE_SECONDS:.0f} s; nothing was changed")

    def _too_slow_to_commit(self) -> None:
        assert self._change is not None
        for worker in list(self._change.waiting_for):
            self._pool.signal(worker, signal.SIGKILL)


def _named(copies: Sequence[ListenerCopy]) -> str:
    """For the log: which listener, where, and of which slot."""
    return ", ".join(f"{one.name} {one.address[0]}:{one.address[1]} slot {slot}" for one, slot in copies)


def _each_once(found: Iterable[Iterable[Report]]) -> tuple[Report, ...]:
    return tuple({report: None for reports in found for report in reports})


def _takes_away_only(running: Config, config: Config) -> bool:
    """Whether all there is in a config is there already, as it is. The same things, not equal ones: those that differ
    in how often they were reloaded are equal.
    """
    return config.variables == running.variables and all(
        ident in running.things[sort] and running.things[sort][ident] is thing
        for sort, things in config.things.items()
        for ident, thing in things.items()
    )
