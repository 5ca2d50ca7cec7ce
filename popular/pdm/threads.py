"""The threads of one blocking module: a few of its own, so that one that hangs takes nobody else's.

A call that hangs keeps its thread until it returns, for no thread can be stopped. When all of them are held so, who
comes is told at once.
"""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

from popular.pdm.contract import CannotTell

MOST_WAITING = 250
"""Questions that may wait for a thread of one module."""


class Threads:
    """For the event loop's thread only; `held` is how many are at work."""

    def __init__(self, ident: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=f"pdm-{ident}")
        self.most = most
        self._since: dict[int, float] = {}
        """When each call began that has not returned yet."""
        self._waiting = 0
        self._numbers = itertools.count()

    @property
    def held(self) -> int:
        return len(self._since)

    def hanging(self, timeout: float) -> int:
        """How many calls have not returned within their time."""
        now = monotonic()
        return sum(now - since >= timeout for since in list(self._since.values()))

    async def run(self, work: Callable[[], object], timeout: float) -> object:
        """What the work returns or raises; or CannotTell if it could not even begin. Raises TimeoutError."""
        if self.hanging(timeout) >= self.most:
            return CannotTell(f"all its {self.most} threads hang")
        if self._waiting >= MOST_WAITING:
            return CannotTell(f"{MOST_WAITING} questions are waiting for it")
        call = self._pool.submit(self._do, next(self._numbers), work)
        self._waiting += 1
        call.add_done_callback(_heard)
        waiter = asyncio.wrap_future(call)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
        finally:
            self._waiting -= 1
            if not call.done() and call.cancel():  # it has not begun
                waiter.cancel()
        if call.cancelled():
            return CannotTell(f"no thread was free within {timeout:g} s")
        if not waiter.done():
            raise TimeoutError
        return waiter.result()

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


def _heard(call: "Future[object]") -> None:
    """Whoever asked may be gone: then nobody looks at the exception."""
    if not call.cancelled():
        call.exception()
