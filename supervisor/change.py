"""One change of the config at a time, in two phases: all workers try it, and only if all can, all take it.

    open the new listening sockets → Prepare to every worker → all Ready → the new config is the running one → Commit
    → all InForce → done

A step that fails before the commit takes everything back: nothing has changed, and the reply says what failed. After
the commit nothing can fail any more; a worker that does not confirm in time is killed, because its successor starts
with the new config.
"""

import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from supervisor.config import Config
from supervisor.control.language import Refused
from supervisor.lifeline import Abort, Commit, Prepare, Ready, Unable
from supervisor.lifeline import InForce as InForceNote
from supervisor.listeners import Listeners
from supervisor.loop import Loop, Timer
from supervisor.pool import Pool, Worker
from supervisor.program import Listener, Program

PREPARE_SECONDS = 60.0
"""A module may read a large file."""
COMMIT_SECONDS = 10.0

Done = Callable[[str | None], None]
"""Called once at the end: None, or why nothing was changed."""


@dataclass(eq=False)
class _Change:
    config: Config
    seed: bytes
    opened: list[Listener]
    done: Done
    committed: bool = False
    waiting_for: set[Any] = field(default_factory=set)
    limit: Timer | None = None


class Changes:
    """Holds the running config and the one change that may be under way."""

    def __init__(self, program: Program, first: Config, loop: Loop, pool: Pool, listeners: Listeners) -> None:
        self.running = first
        self._last_tried = first.generation
        self._program = program
        self._loop = loop
        self._pool = pool
        self._listeners = listeners
        self._change: _Change | None = None
        self.on_commit: Callable[[Config, Config], None] = lambda _old, _new: None

    def begin(self, config: Config, seed: bytes, done: Done) -> None:
        """Starts a change; to be called only when the one before is done."""
        assert self._change is None
        # A generation that was taken back keeps its number: a late note about it must not be taken for another's.
        self._last_tried += 1
        config = replace(config, generation=self._last_tried)
        missing = self._listeners.missing(self._program.listeners(config))
        try:
            self._listeners.open(missing, config.variables["backlog"])
        except Refused as error:
            done(str(error))
            return
        change = self._change = _Change(config, seed, missing, done)
        change.limit = self._loop.after(PREPARE_SECONDS, self._too_slow_to_prepare)
        for worker in self._pool.workers:
            self._prepare(worker)
        self._go_on()

    def include(self, worker: Worker) -> None:
        """A worker was born with the running config; if another one is being prepared, it has to try that too."""
        if self._change is not None and not self._change.committed:
            self._prepare(worker)

    def _prepare(self, worker: Worker) -> None:
        assert self._change is not None
        lent = self._listeners.of_slot(worker.slot, self._change.opened)
        fds = [listening.fileno() for listening in lent.values()]
        self._change.waiting_for.add(worker)
        self._pool.tell(worker, Prepare(self._change.config, tuple(lent)), fds)

    def hear(self, worker: Worker, note: object) -> None:
        """A worker's Ready, Unable or InForce. One about another generation is old news."""
        change = self._change
        if change is None or getattr(note, "generation", None) != change.config.generation:
            return
        match note:
            case Ready() if not change.committed:
                change.waiting_for.discard(worker)
            case Unable(_, reason) if not change.committed:
                self._take_back(reason)
                return
            case InForceNote() if change.committed:
                change.waiting_for.discard(worker)
        self._go_on()

    def forget(self, worker: Worker) -> None:
        """A worker died. If it died trying, its successors would too; otherwise nobody waits for the dead."""
        change = self._change
        if change is None:
            return
        if not change.committed and worker in change.waiting_for:
            self._take_back(f"worker {worker.slot} died while it tried this; nothing was changed")
            return
        change.waiting_for.discard(worker)
        self._go_on()

    def _go_on(self) -> None:
        change = self._change
        if change is None or change.waiting_for:
            return
        if not change.committed:
            self._commit(change)
        if not change.waiting_for:
            self._finish(None)

    def _commit(self, change: _Change) -> None:
        old, self.running = self.running, change.config
        change.committed = True
        assert change.limit is not None
        change.limit.cancel()
        change.limit = self._loop.after(COMMIT_SECONDS, self._too_slow_to_commit)
        change.waiting_for = set(self._pool.workers)
        if change.seed:
            ssl.RAND_add(change.seed, float(len(change.seed)))
        self._pool.tell_all(Commit(change.config.generation, change.seed))
        self.on_commit(old, change.config)

    def _take_back(self, reason: str) -> None:
        assert self._change is not None
        self._pool.tell_all(Abort(self._change.config.generation))
        self._finish(reason)

    def _finish(self, reason: str | None) -> None:
        change, self._change = self._change, None
        assert change is not None
        assert change.limit is not None
        change.limit.cancel()
        self._listeners.keep_only(self._program.listeners(self.running))
        change.done(reason)

    def _too_slow_to_prepare(self) -> None:
        assert self._change is not None
        slots = ", ".join(str(worker.slot) for worker in self._change.waiting_for)
        self._take_back(f"worker {slots} did not answer within {PREPARE_SECONDS:.0f} s; nothing was changed")

    def _too_slow_to_commit(self) -> None:
        assert self._change is not None
        for worker in list(self._change.waiting_for):
            self._pool.signal(worker, signal.SIGKILL)
