"""The questions to modules that take long to compute: each in a thread, or waiting for one.

A worker has as few threads for what computes as its share of the processors (threads_to_compute). What has to wait for
one is taken in turn over the clients' addresses, and forgotten when its session ends: nobody computes a hash for a
client that has gone.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from popular import messages
from popular.pdm.contract import CannotTell
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG
from supervisor.serving.context import WorkerContext
from supervisor.serving.threadpool import NoThread
from supervisor.serving.turns import Turns

MOST_WAITING = 1000
"""Logins of one worker that may wait for a thread; beyond that, clients are asked to come again."""
MOST_OF_ONE = 250
"""How many of them may be of one network."""
LOG_SECONDS = 1.0
"""Between two lines that say so."""

DROPPED = ("gone", "refused")
"""Why a question was never put, for the counter: its session ended, or too many were waiting."""

TOO_MANY = CannotTell("too many logins are waiting")

A = TypeVar("A")
Work: TypeAlias = Callable[[], tuple[A, Callable[[], None]]]
"""What is done in a thread: it gives the answer, and what counts it on the event loop."""


class PendingQuestion(Generic[A]):
    """A question that waits for a thread, or has one."""

    __slots__ = ("_queue", "answered", "is_dropped", "network", "since", "work")

    def __init__(
        self,
        queue: "QuestionQueue",
        network: str,
        work: Work[A],
        *,
        answered: Callable[[A | CannotTell], None],
    ) -> None:
        """`answered` hears the answer, or why there is none; on the event loop."""
        self._queue = queue
        self.network = network
        self.answered = answered
        self.since = 0.0
        self.is_dropped = False
        self.work: Work[A] | None = work
        """Holds a password, so it is let go of as soon as a thread has it, or nobody wants to know any more."""

    def drop(self) -> None:
        """Nobody wants to know any more, or hears the answer. A thread that has it cannot be stopped."""
        self._queue.drop(self)
        self.is_dropped = True


class QuestionQueue:
    """The questions of a worker that are in threads, and those that wait for one. For the event loop's thread only."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._turns: Turns[PendingQuestion[Any]] = Turns(MOST_WAITING, MOST_OF_ONE)
        self._running = 0
        self._cells = context.cells
        self._length = context.counters.cell("module_queue")
        self._observe = context.counters.observer("module_queue_duration").observe
        self._logged = 0.0

    def submit(self, waiting: PendingQuestion[A], threads: int) -> PendingQuestion[A] | CannotTell:
        """Has a thread answer the question, now or in its turn, and returns it; or says why that cannot be: no thread
        can be started, or TOO_MANY. Another question may be refused instead, whose `answered` hears it. `threads`: in
        so many something may be computed.
        """
        if self._running < threads:
            failure = self._start(waiting)
            if failure is not None:
                return failure
            self.waited(0.0)
            return waiting
        waiting.since = self._context.clock.now
        refused = self._turns.add(waiting.network, waiting)
        if refused is None:
            self.waits(1)
            return waiting
        self._refuse(refused)
        if refused is waiting:
            return TOO_MANY
        self._tell_soon(refused, TOO_MANY)
        return waiting

    def _tell_soon(self, waiting: PendingQuestion[Any], why: CannotTell) -> None:
        self._context.loop.call_soon(lambda: None if waiting.is_dropped else waiting.answered(why))

    def _refuse(self, refused: PendingQuestion[Any]) -> None:
        refused.work = None
        self.dropped("refused")
        now = self._context.clock.now
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            self._context.log(messages.POOL_FULL, waiting=len(self._turns), client=refused.network)

    def drop(self, waiting: PendingQuestion[Any]) -> None:
        if self._turns.remove(waiting.network, waiting):
            waiting.work = None
            self.waits(-1)
            self.dropped("gone")

    # What is counted of those who wait, also for the threads of a module of its own

    def waits(self, change: int) -> None:
        """One more, or one less."""
        self._cells[self._length] += change

    def waited(self, seconds: float) -> None:
        """One has a thread, after so long."""
        self._observe(seconds)

    def dropped(self, why: str) -> None:
        """One never had a thread; `why` is of DROPPED."""
        self._context.count("module_questions_dropped", why)

    def _start(self, waiting: PendingQuestion[Any]) -> CannotTell | None:
        """Has a thread do it; or says why none can."""
        work, waiting.work = waiting.work, None
        assert work is not None
        try:
            future = self._context.loop.run_in_executor(self._context.pool, work)
        except NoThread as error:
            return CannotTell(str(error))
        self._running += 1
        future.add_done_callback(functools.partial(self._answered, waiting))
        return None

    def _start_next(self) -> None:
        """There is room for one. Of those for whom there is no thread none stays behind: nothing would wake it."""
        while (following := self._turns.take()) is not None:
            self.waits(-1)
            failure = self._start(following)
            if failure is None:
                self.waited(self._context.clock.now - following.since)
                return
            self._tell_soon(following, failure)

    def _answered(self, waiting: PendingQuestion[A], future: "asyncio.Future[tuple[A, Callable[[], None]]]") -> None:
        self._running -= 1
        self._start_next()
        if future.cancelled():
            return
        answer: A | CannotTell
        try:
            answer, count = future.result()
            count()
        except Exception as error:  # ours; who has logged in waits for some answer
            self._context.log(SESSION_BUG, "-", error=kind_and_location_of(error))
            answer = CannotTell("an error of ours")
        if not waiting.is_dropped:
            waiting.answered(answer)
