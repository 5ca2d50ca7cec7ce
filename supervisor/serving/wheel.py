"""Coarse deadlines for very many things: one loop timer for a whole worker, an operation on a list for each deadline.

A thing is in at most one bucket, a list without order, and knows it and its place in it. When its time comes it is
taken out and told so; it then looks at its own deadlines and asks again. So a deadline that moves later (an idle timer
at each read) costs an attribute and nothing here.
"""

import asyncio
import time
from typing import TypeAlias

TICK_SECONDS = 0.25
"""How late a deadline may fire."""


class Timed:
    """What can be put on the wheel."""

    __slots__ = ("bucket", "place")

    def __init__(self) -> None:
        self.bucket: Bucket | None = None
        self.place = 0
        """Where it is in its bucket."""

    def on_time(self, now: float) -> None:
        """The time that was asked for has come (seconds, monotonic clock)."""
        raise NotImplementedError


Bucket: TypeAlias = list[Timed]


class Wheel:
    """Holds deadlines (seconds of the monotonic clock)."""

    __slots__ = ("_buckets", "_loop", "_tick", "_timer", "_turned_to")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, Bucket] = {}
        self._tick = TICK_SECONDS
        self._turned_to = int(time.monotonic() / TICK_SECONDS)
        self._timer = loop.call_later(TICK_SECONDS, self._turn)

    def put(self, thing: Timed, when: float) -> None:
        """Calls `thing.on_time` at `when` or up to a tick later; what was asked for it before is forgotten."""
        self.remove(thing)
        tick = int(when / self._tick) + 1
        if tick <= self._turned_to:
            tick = self._turned_to + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = []
        thing.bucket = bucket
        thing.place = len(bucket)
        bucket.append(thing)

    def remove(self, thing: Timed) -> None:
        """Forgets the thing; one that is not on the wheel is fine."""
        bucket = thing.bucket
        if bucket is None:
            return
        thing.bucket = None
        last = bucket.pop()
        if last is not thing:
            last.place = place = thing.place
            bucket[place] = last

    def stop(self) -> None:
        self._timer.cancel()

    def _turn(self) -> None:
        now = time.monotonic()
        self._timer = self._loop.call_later(TICK_SECONDS, self._turn)
        due = int(now / TICK_SECONDS)
        while self._turned_to < due:
            self._turned_to += 1
            bucket = self._buckets.pop(self._turned_to, [])
            while bucket:  # one that is told may take others out
                thing = bucket.pop()
                thing.bucket = None
                thing.on_time(now)
