"""The threads of one blocking module: a few of its own, so that one that hangs takes nobody else's.

Who has to wait for one is taken in turn over the clients' networks, so that one client with many questions keeps nobody
else waiting. A call that hangs keeps its thread until it returns, for no thread can be stopped. When all of them are
held so, who comes is told at once.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NamedTuple, Protocol

from popular.pdm.contract import CannotTell
from supervisor.serving.threadpool import NoThread, ThreadPool
from supervisor.serving.turns import Turns

MOST_WAITING = 250
"""Questions that may wait for a thread of one module."""
MOST_OF_ONE = 100
"""How many of them may be about clients of one network."""


class Raised(NamedTuple):
    """What a module's code has raised, as a value: on its way through a future or a task, what is no Exception
    (SystemExit, KeyboardInterrupt, the panic of a module in Rust) would end the loop, and with it the worker.
    """

    error: BaseException


def outcome_of(work: Callable[[], object]) -> object:
    """What it returns; or Raised."""
    try:
        return work()
    except BaseException as error:
        return Raised(error)


async def outcome_on_loop(work: Awaitable[object]) -> object:
    """What it returns; or Raised, but for the end of the task that waits for it."""
    try:
        return await work
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return Raised(error)


def returned(outcome: object) -> object:
    """What was returned; raises what was raised."""
    if isinstance(outcome, Raised):
        try:
            raise outcome.error
        finally:
            del outcome  # else the error's own traceback would hold it
    return outcome


class WaitEvents(Protocol):
    """Who counts those who wait for a thread."""

    def waits(self, change: int) -> None:
        """One more waits, or one less."""

    def waited(self, seconds: float) -> None:
        """One has its thread, after so long."""

    def dropped(self, why: str) -> None:
        """One will never have a thread: its client is "gone", or it was "refused"."""

    def threads_held(self, ident: str, change: int) -> None:
        """One more of a module's threads is at work, or one less."""


class Threads:
    """For the event loop's thread only; `held` is how many are at work."""

    def __init__(self, ident: str, most: int) -> None:
        self._pool = ThreadPool(most, f"pdm-{ident}")
        self.ident = ident
        self.most = most
        self._since: dict[int, float] = {}
        """When each call began that has not returned yet."""
        self._taken = 0
        """Threads that are given to somebody."""
        self._turns: Turns[asyncio.Future[bool]] = Turns(MOST_WAITING, MOST_OF_ONE)
        """Who waits for a thread: True, it is his, or False, he has to go."""
        self._numbers = itertools.count()

    @property
    def held(self) -> int:
        return len(self._since)

    def hanging(self, timeout: float) -> int:
        """How many calls have not returned within their time."""
        now = monotonic()
        return sum(now - since >= timeout for since in list(self._since.values()))

    async def run(
        self, work: Callable[[], object], timeout: float, *, network: str, events: WaitEvents | None = None
    ) -> object:
        """What the work returns or raises; or CannotTell if it could not even begin. Raises TimeoutError."""
        if self.hanging(timeout) >= self.most:
            return CannotTell(f"all its {self.most} threads hang")
        began = monotonic()
        if self._taken < self.most:
            self._taken += 1
            if events is not None:
                events.threads_held(self.ident, 1)
        else:
            turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            refused = self._turns.add(network, turn)
            if refused is not None:
                refused.set_result(False)
            if events is not None:
                events.waits(1)
            try:
                reason = await self._wait(turn, timeout, network=network, events=events)
            finally:
                if events is not None:
                    events.waits(-1)
            if reason:
                return CannotTell(reason)
        if events is not None:
            events.waited(monotonic() - began)
        try:
            submitted = self._pool.submit(self._do, next(self._numbers), work)
        except (NoThread, RuntimeError) as error:  # or the pool is closed
            self._pass_on(events)
            return CannotTell(str(error))
        call = asyncio.wrap_future(submitted)
        call.add_done_callback(lambda call: self._returned(call, events))
        await asyncio.wait({call}, timeout=max(0.0, began + timeout - monotonic()))
        if not call.done():
            raise TimeoutError
        return returned(call.result())

    async def _wait(
        self, turn: "asyncio.Future[bool]", timeout: float, *, network: str, events: WaitEvents | None
    ) -> str:
        """Until a thread is ours, or why there will be none."""
        try:
            await asyncio.wait({turn}, timeout=timeout)
        except asyncio.CancelledError:
            if not self._turns.remove(network, turn) and turn.result():
                self._pass_on(events)
            if events is not None:
                events.dropped("gone")
            raise
        if turn.done() and turn.result():
            return ""
        if events is not None:
            events.dropped("refused")
        if turn.done():
            return f"{len(self._turns)} questions are waiting for it"
        self._turns.remove(network, turn)
        return f"no thread was free within {timeout:g} s"

    def _returned(self, call: "asyncio.Future[object]", events: WaitEvents | None) -> None:
        """Whoever asked may be gone: then nobody looks at what came of it."""
        if not call.cancelled():
            call.exception()
        self._pass_on(events)

    def _pass_on(self, events: WaitEvents | None) -> None:
        """A thread is free: whose turn is it?"""
        following = self._turns.take()
        if following is None:
            self._taken -= 1
            if events is not None:
                events.threads_held(self.ident, -1)
        else:
            following.set_result(True)

    def _do(self, number: int, work: Callable[[], object]) -> object:
        self._since[number] = monotonic()
        try:
            return outcome_of(work)
        finally:
            del self._since[number]

    def close(self) -> None:
        """Nobody asks any more. Those that hang stay until they return."""
        self._pool.shutdown(wait=False, cancel_futures=True)
