"""The modules of one config, as sessions ask them: at once, or in a thread where one of them takes long to compute, or
on the event loop where one of them may wait (`popular/pdm/guarded.py`).
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, cast

from popular import messages
from popular.pdm import chain, guarded
from popular.pdm.contract import Authenticated, CannotTell, HandedOn, Module, Provable, Question, Refused, Unknown
from popular.pdm.decision import Admitted, Decision
from popular.pdm.guarded import Asking, Guarded, Terms
from popular.pdm.shadow import DIFFERENT, NOT_ASKED, compared, in_words
from popular.pdm.steps import Record, first_step, takes
from popular.pdm.where import Where, where_asked_together
from popular.proxy.session.shared.module_events import ModuleEvents
from popular.proxy.session.shared.question_queue import PendingQuestion, QuestionQueue
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG
from supervisor.serving.context import WorkerContext
from supervisor.serving.counters import Counters
from supervisor.serving.network import network_of
from supervisor.system import Observer

_WORDS: Mapping[object, str] = {
    Authenticated: "authenticated",
    Refused: "refused",
    Provable: "provable",
    Unknown: "unknown",
    CannotTell: "cannot_tell",
    True: "vouches",
    False: "does_not_vouch",
    HandedOn: "handed_on",
}
ANSWERS = {
    "authenticated": "in the first round, the password is the user's",
    "refused": "it knows the user, and does not let him in with it",
    "provable": "it has the keys by which he can prove himself",
    "unknown": "it does not know him",
    "cannot_tell": "it could not answer, in either round",
    "vouches": "in the second round, it lets him in all the same",
    "does_not_vouch": "it does not",
    "handed_on": "a server behind it tries the password itself",
}
"""What a module may answer, for the counter, and what that means."""
assert [*ANSWERS] == [*_WORDS.values()]
MOST_COMPARED = 100
"""Questions to modules on trial that a worker may have open."""


class LoopQuestion:
    """A question that is put on the event loop."""

    __slots__ = ("_task",)

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self._task = task

    def drop(self) -> None:
        """Nobody wants to know any more."""
        self._task.cancel()


class ModuleChain:
    """Asks, and counts: at once, in a thread, or on the event loop, as popular/pdm/where.py has it."""

    __slots__ = (
        "_asker",
        "_comparing",
        "_context",
        "_counters",
        "_heard",
        "_in_use",
        "_is_on_loop",
        "_log",
        "_observers",
        "_on_trial",
        "_queue",
        "_record",
        "_tasks",
        "_threads",
        "answers_later",
    )

    def __init__(
        self,
        guards: Sequence[tuple[Guarded, Terms]],
        queue: QuestionQueue,
        context: WorkerContext,
        *,
        threads: int,
        counters: Counters,
        observers: Mapping[str, Observer],
    ) -> None:
        """`threads`: see QuestionQueue.submit; `observers`: for each module's id, what counts a question and how long
        its answer took.
        """
        self._threads = threads
        used = [(guard, terms) for guard, terms in guards if not terms.shadow]
        modules = cast(Sequence[Module], [guard.module for guard, _terms in used])
        self._asker = chain.Asker(modules)
        self._record = Record()
        """For `ask`, which nobody calls in the middle of itself."""
        self._queue = queue
        self._context = context
        self._log = context.log
        self._counters = counters
        self._observers = observers
        self._heard = ModuleEvents(queue, context, counters, threads=threads)
        self._in_use = [(guard, self._asking(terms)) for guard, terms in used]
        self._on_trial = [(guard, self._asking(terms)) for guard, terms in guards if terms.shadow]
        self._comparing = 0
        self._tasks: set[asyncio.Task[None]] = set()
        where = where_asked_together(
            (guard.where for guard, _terms in guards), wants_loop=any(terms.wants_loop for _guard, terms in guards)
        )
        self._is_on_loop = where is Where.ON_LOOP
        self.answers_later = where is not Where.AT_ONCE
        """Ask by `ask_later`; else by `ask`."""

    def _asking(self, terms: Terms) -> Asking:
        return Asking(terms, self._heard, self._heard.compute)

    def ask(self, question: Question, hide_unknown: bool, sid: str) -> Decision:
        """The answer, at once: for modules that do not block. Raises nothing, as the other ways to ask."""
        record = self._record
        try:
            decision = self._asker.ask(question, record, hide_unknown)
            self._count(record)
            if self._log.options:
                self._tell(question, record, decision, sid=sid)
        except Exception as error:  # ours; a session ends by its own faults only
            decision = self._fault(error, sid)
        finally:  # what one login has left there would be counted, and told, as the next one's
            record.forget()
        return decision

    def ask_later(
        self, question: Question, hide_unknown: bool, sid: str, *, decided: Callable[[Decision], None]
    ) -> Decision | PendingQuestion[Decision] | LoopQuestion:
        """What waits, and later `decided` is called, on the event loop; or a refusal at once, if too many wait."""
        if self._is_on_loop:
            return LoopQuestion(self._begin(self._ask_and_compare(question, hide_unknown, sid, decided=decided)))
        work = functools.partial(self._ask_in_thread, question, hide_unknown, sid)
        waiting = PendingQuestion(self._queue, network_of(question.client_ip), work, answered=decided)
        return self._queue.submit(waiting, self._threads)

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._context.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask_and_compare(
        self, question: Question, hide_unknown: bool, sid: str, *, decided: Callable[[Decision], None]
    ) -> None:
        decision: Decision
        try:
            decision, _record = await self.ask_on_loop(question, hide_unknown, sid)
        except Exception as error:  # ours; who has logged in waits for some answer
            decision = self._fault(error, sid)
        decided(decision)
        for guard, how in self._on_trial:
            if takes(guard.module, question.kind):
                self._begin(self._compare(guard, how, question, decision=decision))

    async def ask_on_loop(self, question: Question, hide_unknown: bool, sid: str) -> tuple[Decision, Record]:
        """Asks on the loop, whatever the modules are, and counts; also what each has answered."""
        record = Record()
        decision = await guarded.decide(self._in_use, question, record, hide_unknown=hide_unknown)
        self._account(question, record, decision, sid=sid)
        return decision, record

    def in_use(self) -> Sequence[tuple[Guarded, Asking]]:
        """The modules that are asked, in order."""
        return self._in_use

    def on_trial(self) -> Sequence[tuple[Guarded, Asking]]:
        """Those that are asked beside them."""
        return self._on_trial

    async def _compare(self, guard: Guarded, how: Asking, question: Question, *, decision: Decision) -> None:
        """Asks a module on trial; whoever wants to log in does not wait for it."""
        if self._comparing >= MOST_COMPARED:
            self._counters.count("module_shadow", NOT_ASKED, guard.ident)
            return
        self._comparing += 1
        try:
            answer = await guard.put(first_step(guard.module, question), question, how)
        finally:
            self._comparing -= 1
        result = compared(decision, answer)
        self._counters.count("module_shadow", result, guard.ident)
        if result == DIFFERENT and self._heard.may_tell(f"{guard.ident} differs"):
            whom = {"module": guard.ident, "namespace": question.namespace, "user": question.user}
            self._log(messages.MODULE_DIFFERS, **whom, others=in_words(decision), shadow=in_words(answer))

    def _ask_in_thread(self, question: Question, hide_unknown: bool, sid: str) -> tuple[Decision, Callable[[], None]]:
        """The decision, and what counts and tells of it on the event loop."""
        record = Record()
        decision = self._asker.ask(question, record, hide_unknown)
        return decision, functools.partial(self._account, question, record, decision, sid=sid)

    def _fault(self, error: Exception, sid: str) -> CannotTell:
        self._log(SESSION_BUG, sid, error=kind_and_location_of(error))
        return CannotTell("an error of ours")

    def _account(self, question: Question, record: Record, decision: Decision, *, sid: str) -> None:
        """The decision is there: counts and logs what the modules answered."""
        self._count(record)
        self._tell(question, record, decision, sid=sid)

    def _count(self, record: Record) -> None:
        for ident, seconds, answer in record.asked:
            observer = self._observers[ident]
            observer.observe(seconds)
            self._counters.count_one("module_answers", word_of(answer), ident)
        for ident in record.failed:
            self._counters.count("module_failures", None, ident)

    def _tell(self, question: Question, record: Record, decision: Decision, *, sid: str) -> None:
        """Debug option AUTH: what each module answered and how long it took, and what came of it."""
        log = self._log
        if "AUTH" not in log.options:
            return
        for ident, seconds, answer in record.asked:
            log.debug("AUTH", "module", sid, module=ident, answer=_words(answer), seconds=round(seconds, 6))
        asked = {"namespace": question.namespace, "user": question.user, "certificate": question.certificate_name}
        log.debug("AUTH", "decision", sid, decision=type(decision).__name__, **asked, **_fields(decision))


def word_of(answer: object) -> str:
    """What a module answered, in the word of the counter."""
    kind = answer if isinstance(answer, bool) else type(answer)
    return _WORDS[kind if kind in _WORDS else _of_the_contract(type(answer))]


def _of_the_contract(kind: type) -> type:
    """What a module's own kind of answer is one of."""
    return next(one for one in kind.__mro__ if one in _WORDS)


def _words(answer: object) -> str:
    """What a module answered, in words for people; where it could not tell, why."""
    return answer.reason if isinstance(answer, CannotTell) else word_of(answer).replace("_", " ")


def _fields(decision: Decision) -> dict[str, str]:
    """By whom, and where to; a secret is only told apart from the client's own password."""
    if isinstance(decision, CannotTell):
        return {"reason": decision.reason}
    if not isinstance(decision, Admitted):
        return {}
    route = decision.route
    return {
        "identified_by": decision.identified_by,
        "authenticated_by": decision.authenticated_by,
        "backend": route.backend,
        "target": route.target or "",
        "flags": route.flags,
        "password": "of the module" if route.secret is not None else "of the client",
    }
