"""How a program ends: the four variants of `shutdown`.

parent    the master goes at once; the workers see the end of their lifelines and finish their sessions
children  all sessions end at once; fresh workers follow
all       all sessions end at once, then the program; queues are silenced, and who waits in them is sent away
delayed   GRACE: still accepts, but says that it is draining, so that load balancers look elsewhere
          CLOSING: queues are silenced, emptied and closed
          WAITING: until the last session is over, or the deadline ends the rest in the kindest order
"""

import enum
import signal
from collections.abc import Callable
from dataclasses import dataclass

from supervisor.control.language.outcome import CommandDone, Shutdown
from supervisor.master.listeners import Listeners
from supervisor.master.pool import Pool, WorkerProcess
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop, Timer
from supervisor.runtime.plural import count_of
from supervisor.sockets.sources import HALF_OPEN_SECONDS
from supervisor.workerline import CloseQueues, EndSessions

PATIENCE_SECONDS = 10.0
"""How long workers that were told to end at once may take before they are killed."""


class Stage(enum.Enum):
    """How far a shutdown has come."""

    STAYING = "staying"
    GRACE = "in grace"
    CLOSING = "closing"
    WAITING = "waiting for sessions"
    ENDING = "ending"


@dataclass
class Means:
    """The parts of the master that a shutdown works with."""

    loop: Loop
    log: Log
    pool: Pool
    listeners: Listeners
    sessions: Callable[[], int]
    """How many sessions there are."""
    moves: Callable[[], int]
    """How many moves are under way: whoever has ordered one is answered first."""
    on_stage: Callable[[], None]
    """The stage has changed: show it."""
    turn_away: Callable[[], None]
    """Sends away who waits in a queue that nobody will empty."""
    finish: Callable[[str], None]
    """The master ends now; no worker is left, or (parent) they go on alone."""


class ShutdownSequence:
    """How far the shutdown of this program has come, and its next step."""

    def __init__(self, means: Means) -> None:
        self.stage = Stage.STAYING
        self._how = "delayed"
        self._means = means
        self._not_closed: set[WorkerProcess] = set()
        self._answer_when_closed: CommandDone | None = None
        self._deadline_said: int | None = None
        self._deadline: Timer | None = None
        self._has_queues = True

    @property
    def draining(self) -> bool:
        """Whether a load balancer should send clients elsewhere."""
        return self.stage is not Stage.STAYING

    @property
    def final(self) -> bool:
        """Whether listening sockets go: from here on no configuration can come into force."""
        return self.stage not in (Stage.STAYING, Stage.GRACE)

    def begin(self, action: Shutdown, answer: CommandDone) -> None:
        """Carries out one of the four commands; answers when its first half is done."""
        self._means.log(messages.SHUTDOWN_SERVER, how=action.how)
        match action.how:
            case "children":
                ended = self._ended()
                self._end_workers()
                follow = "fresh workers follow" if self._means.pool.refilling else "no workers follow: the program ends"
                answer(True, f"{ended}; {follow}", ())
            case "parent":
                answer(True, f"the parent goes; its children finish {count_of(self._means.sessions(), 'session')}", ())
                self._means.loop.after(0.0, lambda: self._means.finish("parent"))
            case "all":
                answer(True, self._ended(), ())
                self._end_at_once()
            case _:
                self._delay(action, answer)

    def _ended(self) -> str:
        return count_of(self._means.sessions(), "session is ended", "sessions are ended")

    def _move(self, stage: Stage) -> None:
        self.stage = stage
        self._means.log.debug("MAIN", "shutdown_step", step=stage.value, sessions=self._means.sessions())
        self._means.on_stage()

    def _end_at_once(self) -> None:
        means = self._means
        self._how = "all"
        self._move(Stage.ENDING)
        means.pool.refilling = False
        # A new client is let in by another instance at the same port, if there is one, when it asks again.
        means.listeners.silence_all()
        self._end_workers()
        means.loop.after(HALF_OPEN_SECONDS, self._turn_away)

    def _turn_away(self) -> None:
        self._means.turn_away()
        self._has_queues = False
        self.look_whether_done()

    def _end_workers(self) -> None:
        """Ends the workers that are there now; those that do not obey are killed after a while."""
        pool, ended = self._means.pool, list(self._means.pool.workers)
        pool.signal_all()

        def insist() -> None:
            for worker in ended:
                if worker in pool.workers:
                    pool.signal(worker, signal.SIGKILL)

        self._means.loop.after(PATIENCE_SECONDS, insist)

    def _delay(self, action: Shutdown, answer: CommandDone) -> None:
        had_deadline = self._deadline is not None
        self._set_deadline(action.deadline)
        if self.stage is not Stage.STAYING:
            answer(True, f"already {self.stage.value}; {_change(action, had_deadline)}", ())
            return
        if action.grace:
            self._move(Stage.GRACE)
            self._means.loop.after(action.grace, self._close)
            answer(True, _outlook(action), ())
            return
        self._answer_when_closed, self._deadline_said = answer, action.deadline
        self._close()

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            self._deadline = self._means.loop.after(seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        if self.stage in (Stage.GRACE, Stage.CLOSING):
            self._set_deadline(HALF_OPEN_SECONDS)
            if self.stage is Stage.GRACE:
                self._close()
            return
        # All hear the first before any can obey the second: what one ends makes no room for who waits at another.
        self._means.pool.tell_all(CloseQueues())
        self._means.pool.tell_all(EndSessions())

    def _close(self) -> None:
        """Nobody new is let in; who is on the way in still is."""
        if self.stage not in (Stage.STAYING, Stage.GRACE):
            return
        self._move(Stage.CLOSING)
        self._means.listeners.silence_all()
        self._means.loop.after(HALF_OPEN_SECONDS, self._dismiss)

    def _dismiss(self) -> None:
        if self.stage is not Stage.CLOSING:
            return
        pool = self._means.pool
        pool.refilling = False
        self._not_closed = set(pool.seated)
        for worker in pool.seated:
            pool.dismiss(worker)
        self._look_whether_closed()

    def closed(self, worker: WorkerProcess) -> None:
        """A worker accepts nothing more, or is dead."""
        self._not_closed.discard(worker)
        if self.stage is Stage.CLOSING and not self._means.pool.refilling:
            self._look_whether_closed()

    def _look_whether_closed(self) -> None:
        if self._not_closed:
            return
        self._means.listeners.let_go()
        self._move(Stage.WAITING)
        if self._answer_when_closed is not None:
            answer, self._answer_when_closed = self._answer_when_closed, None
            answer(True, _closed(self._means.sessions(), self._deadline_said), ())
        self.look_whether_done()

    def look_whether_done(self) -> None:
        """To be called at each death of a worker, and at the end of each move: the last one ends the program."""
        may_end = self.stage is Stage.WAITING or (self.stage is Stage.ENDING and not self._has_queues)
        if may_end and not self._means.pool.workers and not self._means.moves():
            self._means.loop.after(0.0, lambda: self._means.finish(self._how))


def _change(action: Shutdown, had_deadline: bool) -> str:
    """What saying it once more has changed, for people."""
    if action.deadline is not None:
        text = f"the deadline is {'changed' if had_deadline else 'set'}: in {action.deadline} s"
    else:
        text = "the deadline is taken back" if had_deadline else "there is no deadline"
    return f"{text}; the grace is what it was" if action.grace_is_said else text


def _outlook(action: Shutdown) -> str:
    """What comes after a grace, for people."""
    if action.deadline is None:
        return f"accepts for {action.grace} s more, then waits for the sessions to end"
    if action.deadline <= action.grace:
        return f"accepts for {action.deadline} s more; then whatever is left is ended: the deadline is within the grace"
    until = f"those left in {action.deadline} s are ended"
    return f"accepts for {action.grace} s more, then waits for the sessions to end; {until}"


def _closed(sessions: int, deadline: int | None) -> str:
    left = count_of(sessions, "session is still there", "sessions are still there")
    until = f"; those left {deadline} s after this command are ended" if sessions and deadline is not None else ""
    return f"nobody is accepted any more; {left}{until}"
