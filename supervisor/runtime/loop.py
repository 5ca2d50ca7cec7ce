"""The master's loop: file descriptors and times, nothing else.

Single-threaded; every callback returns at once. Times are seconds of the monotonic clock.
"""

import heapq
import itertools
import select
import selectors
import time
from collections.abc import Callable
from typing import Protocol

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
"""The events that all loops of ours are asked for: epoll's numbers. The standard `selectors` has others."""

_LONGEST_WAIT_SECONDS = 60.0
_FEW_TIMERS = 64


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Timer:
    """A call that was asked for; `cancel()` takes it back."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Loop:
    """Waits for descriptors and times and calls back."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._ties = itertools.count()
        self._sweep_at = _FEW_TIMERS
        self.now = time.monotonic()

    def watch(self, file: int | HasFileno, events: int, call: Callable[[int], None]) -> None:
        """Calls `call(events)` whenever `file` is ready; a second call for the same file replaces the first."""
        wanted = (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)
        try:
            self._selector.modify(file, wanted, call)
        except KeyError:
            self._selector.register(file, wanted, call)

    def unwatch(self, file: int | HasFileno) -> None:
        """Forgets a file; to be called before it is closed. A file that is not watched is fine."""
        try:
            self._selector.unregister(file)
        except (KeyError, ValueError):
            pass

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Calls `call()` once, not before `seconds` from now."""
        timer = Timer(time.monotonic() + seconds, call)
        if len(self._timers) >= self._sweep_at:
            self._sweep()
        heapq.heappush(self._timers, (timer.when, next(self._ties), timer))
        return timer

    def _sweep(self) -> None:
        """Forgets what was cancelled: a time may be a day away, and be cancelled a second later, again and again."""
        self._timers = [entry for entry in self._timers if entry[2].call is not None]
        heapq.heapify(self._timers)
        self._sweep_at = max(_FEW_TIMERS, 2 * len(self._timers))

    def run_once(self) -> None:
        """Waits until something is due and does all that is due."""
        for key, events in self._selector.select(self._wait_seconds()):
            self.now = time.monotonic()
            key.data((READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0))
        self.now = time.monotonic()
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                timer.call()

    def _wait_seconds(self) -> float:
        if not self._timers:
            return _LONGEST_WAIT_SECONDS
        return min(_LONGEST_WAIT_SECONDS, max(0.0, self._timers[0][0] - time.monotonic()))

    def close(self) -> None:
        """Closes the selector only: a forked child must let go of the master's epoll set before it does anything
        else.
        """
        self._selector.close()
