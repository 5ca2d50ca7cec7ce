"""A module with what stands in front of it: a cache, a breaker, a deadline, threads of its own. On an event loop.

Whatever a module does (hang, raise, break the contract, ask for the end of the process), it is a `CannotTell` for this
question, and costs nobody else anything. Only code that holds the loop itself cannot be helped: that is the watchdog's.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple, Protocol

from popular.pdm import chain
from popular.pdm.answercache import AnswerCache, CachedAnswer, tells_nothing, to_keep
from popular.pdm.breaker import Breaker
from popular.pdm.contract import (
    CHALLENGE,
    LEAD,
    LEADS,
    LOOKUP,
    AnyModule,
    AsyncModule,
    Authenticated,
    CannotTell,
    KnownUser,
    Module,
    ModuleFailed,
    NeedsPassword,
    Question,
    QuestionFailed,
    Unknown,
    UserAt,
)
from popular.pdm.decision import Decision
from popular.pdm.servers import Servers, placed
from popular.pdm.steps import AUTHENTICATE, CHECK, FAILING, KEYS, LOOK_UP, RESPOND, Record, Step, call, failure, heard
from popular.pdm.threads import Raised, Threads, WaitEvents, outcome_on_loop, returned
from popular.pdm.where import Where, where_asked
from supervisor.runtime.fault import kind_and_location_of
from supervisor.serving.network import network_of

CACHED = ("hit", "miss", "stale")
"""What a cache may come to, for the counter. Stale: an old answer, because the module cannot tell."""


NEEDS_PASSWORD = CannotTell("it cannot be asked without a password")
"""The answer for a module that can only be asked with a password, where it is to be asked without."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a module is asked: what `pdm conf` says, in seconds and numbers."""

    timeout: float = 5.0
    breaker: int = 5
    """Failures in a row after which it is not asked; 0: it is always asked."""
    pause: float = 10.0
    """For how long."""
    threads: int = 8
    cache: float = 0.0
    """How long the answer counts that a user may come in; 0: there is no cache."""
    negative: float = 0.0
    """How long any other answer does."""
    size: int = 10_000
    stale: float = 0.0
    """For how much longer a user may come in whom the module let in, while it cannot tell."""
    shadow: bool = False
    """It is asked beside the others, and what it says is compared and never used."""
    allow: tuple[Servers, ...] = ()
    like: str = ""

    @property
    def wants_loop(self) -> bool:
        """Whether this takes more than calling the module."""
        return bool(self.cache or self.negative or self.shadow or self.allow)


class GuardEvents(WaitEvents, Protocol):
    """Who hears of what is not an answer."""

    def breaker_moved(self, ident: str, is_open: bool, reason: str) -> None:
        """A module is not asked for a while, for this reason; or it is asked again."""

    def cached(self, ident: str, how: str) -> None:
        """The cache was looked at: one of CACHED."""

    def erred(self, ident: str, where: str) -> None:
        """A module has raised what it should not have: the kind of error and its place, without its text."""


class Unheard:
    """GuardEvents that nobody hears of."""

    def waits(self, change: int) -> None: ...

    def waited(self, seconds: float) -> None: ...

    def dropped(self, why: str) -> None: ...

    def threads_held(self, ident: str, change: int) -> None: ...

    def breaker_moved(self, ident: str, is_open: bool, reason: str) -> None: ...

    def cached(self, ident: str, how: str) -> None: ...

    def erred(self, ident: str, where: str) -> None: ...


Run = Callable[[Question, Callable[[], object]], Awaitable[object]]
"""Does work in a thread that is meant for what only computes, when it is this client's turn; a CannotTell if that may
not be.
"""


CLOSE_SECONDS = 5.0
"""For a module to give back what it holds; where the worker ends it has less."""

CANNOT_BE_TOLD = "it cannot be told where a user's mail is"

_VOUCHES_FOR_NOBODY = (Module.authenticate, AsyncModule.authenticate)
"""What a module has that says nothing of the second round."""


class Asking(NamedTuple):
    """How one config has a module asked. `run`: without it, what only computes has threads of its own too."""

    terms: Terms
    events: GuardEvents
    run: Run | None = None


class _NotPut(Exception):
    """There was no thread for the question, for this reason."""


class Guarded:
    """One module, in one process. For the event loop's thread only."""

    def __init__(self, module: AnyModule) -> None:
        self.module = module
        self.ident = module.ident
        self.breaker = Breaker()
        self.where = where_asked(module)
        self.computes = self.where <= Where.IN_TURN
        """Nothing it does can hang, and what fails is one user's affair: no deadline, no breaker."""
        self.may_vouch = getattr(getattr(module, "authenticate", None), "__func__", None) not in _VOUCHES_FOR_NOBODY
        """It answers the second round by itself. Else it need not be asked, and what it would say tells nothing."""
        self.cache = AnswerCache(os.urandom(32))
        self._threads: dict[int, Threads] = {}
        """By their number: sessions from before a change of `threads` go on with the old ones."""
        self._told: GuardEvents | None = None
        """Who has heard that the breaker is open."""
        self._getting_ready: asyncio.Task[object] | None = None
        self._running: set[asyncio.Task[object]] = set()

    async def put(self, step: Step, question: Question, how: Asking) -> object:
        """What the module, or its cache, answers to a step, as `heard` has it; raises nothing."""
        terms = how.terms
        if step.what is FAILING or (step.what is AUTHENTICATE and not self.may_vouch):
            return self._failing(terms.pause)
        if step.what is KEYS or step.what is RESPOND:  # those of a user are kept by nobody but who has them
            return placed(await self._put(step, question, how), terms.allow, terms.like)
        if step.what is not CHECK:
            return await self._put(step, question, how)
        if (not terms.cache and not terms.negative) or question.kind == CHALLENGE:  # none comes twice
            return placed(await self._put(step, question, how), terms.allow, terms.like)
        return placed(await self._put_through_cache(step, question, how), terms.allow, terms.like)

    async def _put_through_cache(self, step: Step, question: Question, how: Asking) -> object:
        terms, cache = how.terms, self.cache
        key = cache.key(question, getattr(self.module, "by_address", True))
        found, flushes, began = cache.find(key), cache.flushes, monotonic()
        if found is not None and found.is_fresh(began):
            how.events.cached(self.ident, "hit")
            return found.answer
        how.events.cached(self.ident, "miss")
        answer = await self._put(step, question, how)
        if tells_nothing(answer):
            if found is not None and flushes == cache.flushes and found.is_useful(monotonic(), terms.stale):
                how.events.cached(self.ident, "stale")
                return found.answer
            return answer
        cache.forget(key)  # What it says now counts, also where that is not kept: no stale answer outlives it.
        if (kept := to_keep(answer)) is not None:
            seconds = terms.cache if isinstance(kept, Authenticated) else terms.negative
            if not isinstance(kept, Unknown) and kept.cache is not None:
                seconds = min(seconds, kept.cache)
            cached = CachedAnswer(kept, (question.namespace, question.user), since=began, seconds=seconds)
            cache.keep(key, cached, most=terms.size, flushes=flushes)
        return answer

    async def look_up(self, question: Question, how: Asking) -> KnownUser | CannotTell | None:
        """What the module says of a user without his password, which it is not told; NEEDS_PASSWORD if it cannot."""
        if getattr(self.module, LOOKUP, None) is None:
            return NEEDS_PASSWORD
        found = await self._put(Step(self.module, LOOK_UP), question, how)
        assert found is None or isinstance(found, (KnownUser, CannotTell)), "heard"
        return found

    @property
    def leads(self) -> bool:
        """Whether the module can be told where a user's mail is."""
        return getattr(self.module, LEAD, None) is not None and bool(getattr(self.module, LEADS, True))

    async def lead(self, at: UserAt, seconds: float) -> str:
        """Tells the module where the mail of a user is from now on. Why it could not be told, or ""; after a time-out
        it may have heard all the same.
        """
        if not self.leads:
            return CANNOT_BE_TOLD
        told: Callable[..., Any] = getattr(self.module, LEAD)
        try:
            done = await (
                self._led_on_loop(told, at, seconds)
                if self.where is Where.ON_LOOP
                else self._led_in_thread(told, at, seconds)
            )
        except TimeoutError:
            return f"no answer within {seconds:g} s"
        except (ModuleFailed, OSError) as error:
            return failure(error).reason
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # its text could hold a secret
            return kind_and_location_of(error)
        self.cache.flush(f"{at.namespace}:{at.user}")
        return "" if done is True else "it does not have this user"

    async def _led_on_loop(self, told: Callable[..., Awaitable[object]], at: UserAt, seconds: float) -> object:
        async def led() -> object:
            await self._ready()
            return await told(*at)

        return returned(await asyncio.wait_for(outcome_on_loop(led()), seconds))

    async def _led_in_thread(self, told: Callable[..., object], at: UserAt, seconds: float) -> object:
        threads = Threads(self.ident, 1)
        try:
            return await threads.run(lambda: told(*at), seconds, network="")
        finally:
            threads.close()

    def cached(self, question: Question) -> CachedAnswer | None:
        """What is remembered of this very login."""
        return self.cache.find(self.cache.key(question, getattr(self.module, "by_address", True)))

    async def _put(self, step: Step, question: Question, how: Asking) -> object:
        terms = how.terms
        if not self.breaker.lets_ask(monotonic()):
            return CannotTell(f"not asked for {terms.pause:g} s, after {terms.breaker} failures in a row")
        try:
            answer = heard(step, await self._called(step, question, how))
        except asyncio.CancelledError:
            self.breaker.given_up()
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed("it gave up by itself", how)
        except NeedsPassword:
            answer = NEEDS_PASSWORD
        except _NotPut as error:
            # Of the module nothing was learned: neither that it fails, nor that it answers again.
            self.breaker.given_up()
            return CannotTell(str(error))
        except QuestionFailed as error:
            answer = CannotTell(str(error))
        except TimeoutError:
            return self._failed(f"no answer within {terms.timeout:g} s", how)
        except (ModuleFailed, OSError) as error:
            return self._failed(failure(error).reason, how)
        except BaseException as error:
            # One question can be such that it fails, and whoever puts it must not close the module to all others.
            self.breaker.given_up()
            how.events.erred(self.ident, kind_and_location_of(error))
            return failure(error)
        if self.breaker.answered():
            self._told = None
            how.events.breaker_moved(self.ident, False, "")
        return answer

    def _failing(self, pause: float) -> CannotTell | bool:
        """False, which is also that it does not vouch; or that it could not tell."""
        if self.computes or not self.breaker.has_failed_lately(monotonic(), pause):
            return False
        return CannotTell("it has failed lately")

    def _failed(self, reason: str, how: Asking) -> CannotTell:
        most = 0 if self.computes else how.terms.breaker
        if self.breaker.failed(monotonic(), most=most, pause=how.terms.pause):
            self._told = how.events
            how.events.breaker_moved(self.ident, True, reason)
        return CannotTell(reason)

    async def _called(self, step: Step, question: Question, how: Asking) -> object:
        if self.where is Where.ON_LOOP and step.decoy is None:
            return await self._on_loop(step, question, how.terms.timeout)
        if self.where is Where.AT_ONCE:
            return call(step, question)
        if self.where is Where.IN_TURN and how.run is not None:
            return await how.run(question, lambda: call(step, question))
        threads = self._threads.get(how.terms.threads)
        if threads is None:
            threads = self._threads[how.terms.threads] = Threads(self.ident, how.terms.threads)
        is_put = False

        def put() -> object:
            nonlocal is_put
            is_put = True
            return call(step, question)

        network = network_of(question.client_ip)
        answer = await threads.run(put, how.terms.timeout, network=network, events=how.events)
        if not is_put and isinstance(answer, CannotTell):
            raise _NotPut(answer.reason)
        return answer

    async def _on_loop(self, step: Step, question: Question, timeout: float) -> object:
        """In a task of its own: one that does not let itself be cancelled is left alone, and not waited for."""
        task = asyncio.get_running_loop().create_task(self._coroutine(step, question))
        self._running.add(task)
        task.add_done_callback(self._over)
        try:
            await asyncio.wait({task}, timeout=timeout)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise TimeoutError
        return returned(task.result())

    def _over(self, task: "asyncio.Task[object]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()

    async def _coroutine(self, step: Step, question: Question) -> object:
        """What the module's coroutine comes to, as a value (Raised)."""

        async def asked() -> object:
            await self._ready()
            return await _awaitable(call(step, question))

        return await outcome_on_loop(asked())

    async def _ready(self) -> None:
        """Once, whoever comes first; if it fails, whoever comes next tries again."""
        if self._getting_ready is None or (
            self._getting_ready.done()
            and (self._getting_ready.cancelled() or isinstance(self._getting_ready.result(), Raised))
        ):
            ready: Callable[[], Coroutine[Any, Any, None]] | None = getattr(self.module, "ready", None)
            if ready is None:
                return
            self._getting_ready = asyncio.get_running_loop().create_task(outcome_on_loop(ready()))
        getting = self._getting_ready  # another one may have begun anew when this one's end is heard of
        if not getting.done():
            await asyncio.shield(getting)
        returned(getting.result())

    async def close(self) -> None:
        """Nobody asks any more: lets the module go."""
        for task in (*self._running, self._getting_ready):
            if task is not None:
                task.cancel()
        if self._told is not None:
            self._told.breaker_moved(self.ident, False, "")
            self._told = None
        for threads in self._threads.values():
            threads.close()
        await closed(self.module)


async def closed(module: Any) -> None:
    """A module gives back what it holds, on the loop, and within CLOSE_SECONDS. Raises whatever it raises, and
    TimeoutError.
    """
    closing = module.close()
    if not isinstance(closing, Awaitable):
        return
    task = asyncio.get_running_loop().create_task(outcome_on_loop(closing))
    await asyncio.wait({task}, timeout=CLOSE_SECONDS)
    if not task.done():
        task.cancel()
        raise TimeoutError
    returned(task.result())


async def _awaitable(reply: object) -> object:
    if not isinstance(reply, Awaitable):
        raise ModuleFailed(f"answered with something else than the contract allows ({type(reply).__name__})")
    return await reply


async def decide(
    guards: Sequence[tuple[Guarded, Asking]], question: Question, record: Record, *, hide_unknown: bool = True
) -> Decision:
    """Both rounds of the chain, on the loop."""
    by_module = {id(guard.module): (guard, how) for guard, how in guards}
    steps = chain.rounds([guard.module for guard, _how in guards], question, hide_unknown=hide_unknown)
    try:
        step = next(steps)
        while True:
            guard, how = by_module[id(step.module)]
            began = monotonic()
            answer = await guard.put(step, question, how)
            record.add(step, monotonic() - began, answer)
            step = steps.send(answer)
    except StopIteration as end:
        decision: Decision = end.value
        return decision
