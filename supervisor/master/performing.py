"""What a command orders beside a change of the configuration, each given to the part that carries it out: to end or
renew processes, to end sessions, to move users, and what is kept (operatorstate.py).
"""

import time
from collections.abc import Sequence

from supervisor.control.language.outcome import (
    Action,
    Block,
    CommandDone,
    EndSession,
    Move,
    Ordered,
    Recycle,
    SessionSweep,
    Shutdown,
)
from supervisor.master.accounting import Accounting
from supervisor.master.audit import Audit
from supervisor.master.keeping import StateKeeper
from supervisor.master.moving import Moves
from supervisor.master.order_keeping import OrderKeeping
from supervisor.master.pool import Pool
from supervisor.master.recycling import Recycling
from supervisor.master.shutdown import ShutdownSequence
from supervisor.operatorstate import OrderEntry
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.rundir import RunDirectory
from supervisor.table.blocked import BLOCKED, MOST_BLOCKED
from supervisor.workerline import Kill


class Performer:
    """Carries out actions: of commands, and of workers that have heard them from other proxies."""

    def __init__(
        self,
        pool: Pool,
        accounting: Accounting,
        rundir: RunDirectory,
        *,
        keeper: StateKeeper,
        shutdown: ShutdownSequence,
        recycling: Recycling,
        moves: Moves,
        orders: OrderKeeping,
        log: Log,
        audit: Audit,
    ) -> None:
        self._pool = pool
        self._accounting = accounting
        self._rundir = rundir
        self._keeper = keeper
        self._shutdown = shutdown
        self._recycling = recycling
        self._moves = moves
        self._orders = orders
        self._log = log
        self._audit = audit

    def perform(self, action: Action, answer: CommandDone) -> None:
        """Begins it; `answer` is called once, at once or later."""
        match action:
            case Shutdown():
                self._shutdown.begin(action, answer)
            case Recycle():
                self._recycling.begin(lambda good, text: answer(good, text, ()))
            case EndSession(sid=sid):
                self._end_session(sid, answer)
            case Block():
                self._orders.tell_others(
                    action,
                    action.entries,
                    answer,
                    then=lambda entries, note: self._block(action, entries, answer, note=note),
                )
            case Ordered():
                self._orders.put_in_force(action, answer)
            case Move():
                self._move(action, answer)
            case SessionSweep():
                self._orders.sweep(action, answer)

    def perform_told(self, action: Action) -> None:
        """A worker hands it up: what it has heard from elsewhere, if somebody is named."""

        def told(done: bool, text: str, _lines: Sequence[str]) -> None:
            if done and action.told_by:
                self._log(messages.ORDER_TOLD, proxy=action.told_by, order=action.text)
                self._audit.told(action.told_by, action.text)
            elif action.told_by:
                self._log(messages.ORDER_NOT_TOLD, proxy=action.told_by, order=action.text, reason=text)

        self.perform(action, told)

    def _end_session(self, sid: str, answer: CommandDone) -> None:
        for session in self._accounting.sessions():
            if session.get("sid") == sid:
                for worker in self._pool.workers:
                    if worker.pid == session["pid"]:
                        self._pool.tell(worker, Kill(session["row"], sid))
                        answer(True, f"session {sid} is ended", ())
                        return
        answer(False, f"there is no session {sid}; `sessions` lists them", ())

    def _block(self, action: Block, entries: tuple[OrderEntry, ...], answer: CommandDone, *, note: str) -> None:
        """In force at once; the answer waits until it is kept."""
        if not self._accounting.block(action.network, action.seconds):
            answer(False, f"{MOST_BLOCKED} networks are blocked, more cannot be", ())
            return
        ended = self._keeper.state.ended(BLOCKED, time.time())
        self._orders.keep(action.text, (*ended, *entries), answer, note=note)

    def _move(self, action: Move, answer: CommandDone) -> None:
        if self._rundir.has_company():
            answer(
                False,
                f"another instance serves here too, and this one does not see its sessions: {self._rundir.company()}; "
                "nothing was changed",
                (),
            )
        else:
            self._moves.begin(action, answer)
