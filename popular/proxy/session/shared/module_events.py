"""What is heard of the modules of one config beside their answers, and where those compute that take long.

It knows nothing of the modules, which know it while they wait, nor of the chain: what would be a circle is freed by the
collector alone, which comes rarely in a worker, and a list of users is large.
"""

import asyncio
from collections.abc import Callable

from popular import messages
from popular.pdm.contract import CannotTell, Question
from popular.pdm.threads import outcome_of, returned
from popular.proxy.session.shared.question_queue import PendingQuestion, QuestionQueue
from supervisor.serving.context import WorkerContext
from supervisor.serving.counters import Counters
from supervisor.serving.network import network_of

TELL_SECONDS = 60.0
"""Between two lines about an error of one module, or about what it says in a trial."""


class ModuleEvents:
    """GuardEvents that are counted and logged."""

    def __init__(self, queue: QuestionQueue, context: WorkerContext, counters: Counters, *, threads: int) -> None:
        """`threads`: see QuestionQueue.submit."""
        self._queue = queue
        self._context = context
        self._log = context.log
        self._counters = counters
        self._threads = threads
        self._told: dict[str, float] = {}
        """When something was told of each module, by what it was."""

    async def compute(self, question: Question, work: Callable[[], object]) -> object:
        """See guarded.Run: in a thread of the worker's pool."""
        heard: asyncio.Future[object] = self._context.loop.create_future()

        def told(answer: object) -> None:
            if not heard.done():
                heard.set_result(answer)

        waiting = PendingQuestion(
            self._queue, network_of(question.client_ip), lambda: (outcome_of(work), _nothing), answered=told
        )
        refusal = self._queue.submit(waiting, self._threads)
        if isinstance(refusal, CannotTell):
            return refusal
        try:
            answer = await heard
        finally:
            waiting.drop()
        return returned(answer)

    def breaker_moved(self, ident: str, is_open: bool, reason: str) -> None:
        self._counters.count("module_breakers_open", None, ident, amount=1 if is_open else -1)
        if is_open:
            self._log(messages.MODULE_GIVEN_UP, module=ident, reason=reason)
        else:
            self._log(messages.MODULE_BACK, module=ident)

    def waits(self, change: int) -> None:
        self._queue.waits(change)

    def waited(self, seconds: float) -> None:
        self._queue.waited(seconds)

    def dropped(self, why: str) -> None:
        self._queue.dropped(why)

    def erred(self, ident: str, where: str) -> None:
        if self.may_tell(f"{ident} erred"):
            self._log(messages.MODULE_ERROR, module=ident, error=where)

    def threads_held(self, ident: str, change: int) -> None:
        self._counters.count("module_threads", None, ident, amount=change)

    def cached(self, ident: str, how: str) -> None:
        self._counters.count("module_cache", how, ident)

    def may_tell(self, what: str) -> bool:
        """Whether it has not been told for a while."""
        now = self._context.clock.now
        if now - self._told.get(what, -TELL_SECONDS) < TELL_SECONDS:
            return False
        self._told[what] = now
        return True


def _nothing() -> None:
    return
