"""The threads of one blocking module: a few of its own, so that one that hangs takes nobody else's.

Who comes when all are at work waits for his turn, over networks. A call that hangs keeps its thread until it returns,
for no thread can be stopped; when all of them are held so, who comes is told at once.
"""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple, Protocol

from popular.pdm.contract import CannotTell
from popular.pdm.turns import Turns

MOST_WAITING = 1000
"""Logins of one worker that may wait for a thread; beyond that, clients are asked to come again."""
MOST_OF_ONE = 250
"""Of them, those of one network."""
TOO_MANY = CannotTell("too many logins are waiting")


class QueueEvents(Protocol):
    """Who hears of the queue in front of threads, and of the threads."""

    def waits(self, change: int) -> None:
        """One more waits, or one less."""

    def waited(self, seconds: float) -> None:
        """So long, for a thread."""

    def dropped(self, why: str, network: str) -> None:
        """A question was not put: its client is gone, or too many are waiting."""

    def threads_held(self, ident: str, change: int) -> None:
        """One more of a module's threads is at work, or one less."""


class Turn(NamedTuple):
    """Whose question it is, how long it may take, and who hears of it."""

    network: str
    timeout: float
    events: QueueEvents


class Threads:
    """For the event loop's thread only. `most` is how many there are."""

    def __init__(self, ident: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=f"pdm-{ident}")
        self.ident = ident
        self.most = most
        self.held = 0
        self._since: dict[int, float] = {}
        """When each call began that has not returned yet."""
        self._turns: Turns[asyncio.Future[CannotTell | None]] = Turns(MOST_WAITING, MOST_OF_ONE)
        self._numbers = itertools.count()

    def hanging(self, timeout: float) -> int:
        """How many calls have not returned within their time."""
        now = monotonic()
        return sum(now - since >= timeout for since in list(self._since.values()))

    async def run(self, work: Callable[[], object], turn: Turn) -> object:
        """What the work returns or raises; or CannotTell if it could not even begin. Raises TimeoutError."""
        began = monotonic()
        if self.hanging(turn.timeout) >= self.most:
            return CannotTell(f"all its {self.most} threads hang")
        if self.held >= self.most:
            refused = await self._wait(turn)
            if refused is not None:
                return refused
        else:
            self._take(turn)
        turn.events.waited(monotonic() - began)
        loop = asyncio.get_running_loop()
        call = self._pool.submit(self._do, next(self._numbers), work)
        call.add_done_callback(lambda call: None if loop.is_closed() else self._tell(loop, call, turn))
        waiter = asyncio.wrap_future(call)
        await asyncio.wait({waiter}, timeout=max(0.0, turn.timeout - (monotonic() - began)))
        if not waiter.done():
            raise TimeoutError
        return waiter.result()

    async def _wait(self, turn: Turn) -> CannotTell | None:
        """For a thread, which is ours then: None. Or why there is none."""
        place: asyncio.Future[CannotTell | None] = asyncio.get_running_loop().create_future()
        gone = self._turns.add(turn.network, place)
        if gone is not None:
            turn.events.dropped("refused", turn.network)
            if gone is place:
                return TOO_MANY
            gone.set_result(TOO_MANY)
        turn.events.waits(1)
        try:
            await asyncio.wait({place}, timeout=turn.timeout)
        except asyncio.CancelledError:
            if place.done() and place.result() is None:
                self._give_back(turn)
            elif self._turns.remove(turn.network, place):
                turn.events.dropped("gone", turn.network)
            raise
        finally:
            turn.events.waits(-1)
        if place.done():
            return place.result()
        self._turns.remove(turn.network, place)
        return CannotTell(f"no thread was free within {turn.timeout:g} s")

    def _take(self, turn: Turn) -> None:
        self.held += 1
        turn.events.threads_held(self.ident, 1)

    def _tell(self, loop: asyncio.AbstractEventLoop, call: "Future[object]", turn: Turn) -> None:
        """From the thread of a call that has returned."""
        loop.call_soon_threadsafe(self._returned, call, turn)

    def _returned(self, call: "Future[object]", turn: Turn) -> None:
        if not call.cancelled():
            call.exception()  # whoever asked may be gone: then nobody looks at it
        self._give_back(turn)

    def _give_back(self, turn: Turn) -> None:
        following = self._turns.take()
        if following is not None:
            following.set_result(None)
        else:
            self.held -= 1
            turn.events.threads_held(self.ident, -1)

    def _do(self, number: int, work: Callable[[], object]) -> object:
        self._since[number] = monotonic()
        try:
            return work()
        except SystemExit:
            raise RuntimeError("SystemExit") from None
        finally:
            del self._since[number]

    def close(self) -> None:
        """Nobody asks any more. Those that hang stay until they return."""
        self._pool.shutdown(wait=False, cancel_futures=True)
