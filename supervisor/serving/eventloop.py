"""The workers' event loop: asyncio's own, with a short cut for the sockets of sessions.

Modules and their drivers find an ordinary asyncio loop (timers, tasks, executors, transports). Session sockets do not
go through asyncio's handles: `watch` puts a callback beside the descriptor, and it is called straight from the wait
for events, level-triggered. Against uvloop's `add_reader` this saves nine system calls and a few hundred octets for
each watched connection, and it needs no compiled package (figures in ARCHITECTURE.md).

A descriptor is either watched here or known to asyncio, never both. It must be unwatched before it is closed.
"""

import asyncio
import functools
import select
import selectors
import time
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.runtime.loop import READ, WRITE

_MOST_EVENTS = 64
"""At a time; more would have the kernel's answer allocated the slow way, at each wait."""
_LONGEST_WAIT = 3600.0
"""Seconds; asyncio does not mind being told of nothing."""

Watcher = Callable[[int], object]
"""Is given the events that have come: READ, WRITE, and whatever else epoll reports of a broken connection."""


class Clock:
    """What a session needs to know of the time: when the loop last woke. Reading it costs no call."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = time.monotonic()
        """Seconds of the monotonic clock; behind it by as much as the watchers of this waking took, up to now."""


class _Selector(selectors.BaseSelector):
    """asyncio's view of the one epoll set. Its own descriptors have a watcher too: the one that tells it."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.clock = Clock()
        self.watchers: dict[int, Watcher] = {}
        self.interrupted = False
        """asyncio was given something to do: its own timing must be asked again."""
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._for_asyncio: list[tuple[selectors.SelectorKey, int]] = []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, _number(fileobj), events, data)
        self.epoll.register(key.fd, _mask(events))
        self._keep(key)
        return key

    def _keep(self, key: selectors.SelectorKey) -> None:
        self._keys[key.fd] = key
        self.watchers[key.fd] = functools.partial(self._tell_asyncio, key)

    def _tell_asyncio(self, key: selectors.SelectorKey, events: int) -> None:
        self._for_asyncio.append((key, _for_asyncio(events)))
        self.interrupted = True

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._keys.pop(_number(fileobj))
        del self.watchers[key.fd]
        try:
            self.epoll.unregister(key.fd)
        except OSError:  # closed before: the kernel has forgotten it already
            pass
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, _number(fileobj), events, data)
        self.epoll.modify(key.fd, _mask(events))
        self._keep(key)
        return key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[_number(fileobj)]

    def close(self) -> None:
        self.epoll.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Calls watchers until there is something for asyncio to do, or its time has come."""
        watcher_of, poll, clock, monotonic = self.watchers.get, self.epoll.poll, self.clock, time.monotonic
        if timeout is None:
            timeout = _LONGEST_WAIT
        deadline = monotonic() + timeout
        self._for_asyncio = []
        self.interrupted = False
        while True:
            happened = poll(timeout, _MOST_EVENTS)
            clock.now = now = monotonic()
            for fd, events in happened:
                watcher_of(fd, _nobody)(events)
            timeout = deadline - now
            if self.interrupted or timeout <= 0:
                return self._for_asyncio


class EventLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that can also `watch`."""

    def __init__(self) -> None:
        selector = _Selector()
        self._session_selector = selector
        self.clock = selector.clock
        self._watchers = selector.watchers
        self._epoll = selector.epoll
        super().__init__(selector)

    def watch(self, fd: int, events: int, watcher: Watcher) -> None:
        """Calls `watcher` whenever the descriptor is ready for `events` (READ, WRITE or both) or broken."""
        self._watchers[fd] = watcher
        self._epoll.register(fd, events)

    def rewatch(self, fd: int, events: int) -> None:
        """Waits for other events of a watched descriptor."""
        self._epoll.modify(fd, events)

    def redirect(self, fd: int, watcher: Watcher) -> None:
        """Calls another function from now on."""
        self._watchers[fd] = watcher

    def unwatch(self, fd: int) -> None:
        """Ends the watching of a descriptor that stays open."""
        del self._watchers[fd]
        self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Ends the watching of a descriptor that is closed next: closing takes it out of the kernel's set."""
        self._watchers.pop(fd, None)

    # Whatever asyncio is given to do while watchers run has to end the wait for events.

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        self._session_selector.interrupted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self._session_selector.interrupted = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        self._session_selector.interrupted = True
        super().stop()


def _nobody(_events: int) -> None:
    """Watches what an earlier watcher of the same waking has closed."""


def _number(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _mask(events: int) -> int:
    """asyncio's events as epoll's."""
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


def _for_asyncio(events: int) -> int:
    """epoll's events as asyncio's; a broken descriptor is ready for everything, as in the standard library."""
    return (selectors.EVENT_READ if events & ~WRITE else 0) | (selectors.EVENT_WRITE if events & ~READ else 0)
