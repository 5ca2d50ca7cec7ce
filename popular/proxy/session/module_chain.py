"""The modules of one config, as sessions ask them: at once, or in a thread where one of them may block."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence

from popular import messages
from popular.pdm import chain
from popular.pdm.chain import CannotTell, Decision
from popular.pdm.contract import Module, Question
from supervisor.serving.context import WorkerContext
from supervisor.serving.counters import Counters
from supervisor.system import Observer

MOST_WAITING = 1000
"""Logins of one worker that may wait for a thread; beyond that, clients are asked to come again."""


class ModuleChain:
    """Asks, and counts what was asked."""

    __slots__ = ("_context", "_counters", "_modules", "_observers", "_waiting", "blocking")

    def __init__(
        self, context: WorkerContext, modules: Sequence[Module], counters: Counters, observers: Mapping[str, Observer]
    ) -> None:
        """`observers`: for each module's id, what counts a question and how long its answer took."""
        self._context = context
        self._modules = modules
        self._counters = counters
        self._observers = observers
        self._waiting = 0
        self.blocking = chain.blocks(modules)

    def ask(self, question: Question, hide_unknown: bool) -> Decision:
        """The answer, at once: for modules that do not block."""
        record = chain.Record()
        decision = chain.ask(self._modules, question, hide_unknown=hide_unknown, record=record)
        self._count(record)
        return decision

    def ask_in_thread(
        self, question: Question, hide_unknown: bool, decided: Callable[[Decision], None]
    ) -> Decision | None:
        """None, and later `decided` is called, on the event loop; or a refusal at once, if too many wait."""
        if self._waiting >= MOST_WAITING:
            self._context.log(messages.POOL_FULL, waiting=self._waiting)
            return CannotTell("too many logins are waiting")
        self._waiting += 1
        record = chain.Record()

        def answered(future: "asyncio.Future[Decision]") -> None:
            self._waiting -= 1
            self._count(record)
            if not future.cancelled():
                decided(future.result())

        asked = functools.partial(chain.ask, self._modules, question, hide_unknown=hide_unknown, record=record)
        self._context.loop.run_in_executor(self._context.pool, asked).add_done_callback(answered)
        return None

    def _count(self, record: chain.Record) -> None:
        for ident, seconds in record.asked:
            self._observers[ident].count(seconds)
        for ident in record.failed:
            self._counters.count("module_failures", None, ident)
