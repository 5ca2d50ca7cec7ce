"""The workers' event loop: asyncio's own, with a short cut for the sockets of sessions.

Modules and their drivers find an ordinary asyncio loop (timers, tasks, executors, transports). Session sockets do not
go through asyncio's handles: `watch` puts a callback beside the descriptor, and it is called straight from the wait
for events, level-triggered. Against uvloop's `add_reader` this saves nine system calls and a few hundred octets for
each watched connection, and it needs no compiled package (figures in ARCHITECTURE.md).

A descriptor is either watched here or known to asyncio, never both. It must be unwatched before it is closed.
"""

import asyncio
import functools
import selectors
from collections.abc import Mapping
from typing import Any

from supervisor.runtime.loop import READ, WRITE
from supervisor.system import Clock, Poller, Watcher

__all__ = ["Clock", "EventLoop", "Watcher"]

_LONGEST_WAIT = 3600.0
"""Seconds; asyncio does not mind being told of nothing."""


class _Selector(selectors.BaseSelector):
    """asyncio's view of the one epoll set. Its own descriptors have a watcher too: the one that tells it."""

    def __init__(self) -> None:
        self.core = Poller()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._for_asyncio: list[tuple[selectors.SelectorKey, int]] = []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, _number(fileobj), events, data)
        self.core.watch(key.fd, _mask(events), self._keep(key))
        return key

    def _keep(self, key: selectors.SelectorKey) -> Watcher:
        self._keys[key.fd] = key
        return functools.partial(self._tell_asyncio, key)

    def _tell_asyncio(self, key: selectors.SelectorKey, events: int) -> None:
        self._for_asyncio.append((key, _for_asyncio(events)))
        self.core.interrupted = True

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._keys.pop(_number(fileobj))
        self.core.unwatch(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, _number(fileobj), events, data)
        self.core.rewatch(key.fd, _mask(events))
        self.core.redirect(key.fd, self._keep(key))
        return key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[_number(fileobj)]

    def close(self) -> None:
        self.core.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Calls watchers until there is something for asyncio to do, or its time has come."""
        self._for_asyncio = []
        self.core.run(_LONGEST_WAIT if timeout is None else timeout)
        return self._for_asyncio


class EventLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that can also `watch`: `core` calls whoever watches a descriptor, see supervisor/system.py."""

    def __init__(self) -> None:
        selector = _Selector()
        self.core = core = selector.core
        self.clock = core.clock
        self.watch = core.watch
        self.rewatch = core.rewatch
        self.redirect = core.redirect
        self.unwatch = core.unwatch
        self.forget = core.forget
        super().__init__(selector)

    # Whatever asyncio is given to do while watchers run has to end the wait for events.

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        self.core.interrupted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        self.core.interrupted = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        self.core.interrupted = True
        super().stop()


def _number(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())


def _mask(events: int) -> int:
    """asyncio's events as epoll's."""
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


def _for_asyncio(events: int) -> int:
    """epoll's events as asyncio's; a broken descriptor is ready for everything, as in the standard library."""
    return (selectors.EVENT_READ if events & ~WRITE else 0) | (selectors.EVENT_WRITE if events & ~READ else 0)
