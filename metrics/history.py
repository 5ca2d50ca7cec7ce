"""The last minutes, for the small graphs of the status page: rings of samples, in memory, lost with the exporter.

    history = History(values=("sessions", "load"), counters=("logins",))
    history.add(moment, (412, 0.7, 90210))       once a second
    history.series("2m")                         the last two minutes, a point a second
    history.series("1h")                         the last hour, a point every ten seconds

Pure: the clock comes with the sample. Rates are differences of counters between two samples, so that a second that was
missed spoils nothing. A ring has all the memory that it will ever need from the beginning: in a process that lives for
months nothing may grow, nor look as if it did for the first hour.
"""

from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple


class Span(NamedTuple):
    """A length of time that can be shown."""

    step: int
    """Seconds from point to point."""
    points: int


SPANS = {"2m": Span(1, 120), "1h": Span(10, 360)}
SHORTEST = next(iter(SPANS))

_JITTER = 0.5
"""A sample that comes this part of a second early counts as being in time."""
_RECENT = 6
"""Samples that a rate of the moment is taken from: five seconds."""


class SampleRing:
    """The last so many samples, each of so many numbers, in one block of memory."""

    def __init__(self, samples: int, width: int) -> None:
        self._numbers = array("d", bytes(8 * samples * width))
        self._samples = samples
        self._width = width
        self._added = 0

    def add(self, numbers: Sequence[float]) -> None:
        """The oldest sample makes room, if there are as many as may be."""
        start = self._added % self._samples * self._width
        self._numbers[start : start + self._width] = array("d", numbers)
        self._added += 1

    def newest(self, place: int) -> float | None:
        """A number of the newest sample."""
        return self.column(place)[-1] if self._added else None

    def column(self, place: int) -> list[float]:
        """One number of every sample, the oldest first."""
        column = self._numbers[place :: self._width].tolist()
        if self._added < self._samples:
            return column[: self._added]
        oldest = self._added % self._samples
        return column[oldest:] + column[:oldest]


class History:
    """Rings of samples, one for each span. One thread adds; any may read."""

    def __init__(self, values: Sequence[str], counters: Sequence[str]) -> None:
        """`values` are drawn as they are, of `counters` the speed."""
        self._values = tuple(values)
        self._counters = tuple(counters)
        width = 1 + len(self._values) + len(self._counters)
        self._rings = {name: SampleRing(span.points + 1, width) for name, span in SPANS.items()}

    def add(self, moment: float, numbers: Sequence[float]) -> None:
        """Keeps the sample in every ring whose step has passed. `moment`: seconds of a monotonic clock; `numbers`: the
        values and the counters, in their order.
        """
        for name, ring in self._rings.items():
            newest = ring.newest(0)
            if newest is None or moment - newest >= SPANS[name].step - _JITTER:
                ring.add((moment, *numbers))

    def rates(self) -> dict[str, float]:
        """How fast each counter counts, over the last few seconds; 0.0 before there are two samples."""
        ring = self._rings[SHORTEST]
        moments = ring.column(0)[-_RECENT:]
        return {
            name: _rate(moments[0], moments[-1], counted[0], high=counted[-1]) if len(moments) > 1 else 0.0
            for name, counted in ((name, ring.column(place)[-_RECENT:]) for name, place in self._counter_places())
        }

    def _counter_places(self) -> list[tuple[str, int]]:
        return [(name, place) for place, name in enumerate(self._counters, 1 + len(self._values))]

    def series(self, span: str) -> dict[str, Any]:
        """What is drawn: `step` and `points` of the span, and a list for each graph, the oldest value first."""
        ring = self._rings[span]
        moments = ring.column(0)
        drawn: dict[str, Any] = {"span": span, "step": SPANS[span].step, "points": SPANS[span].points}
        for place, name in enumerate(self._values, 1):
            drawn[name] = [_plain(value) for value in ring.column(place)[1:]]
        for name, place in self._counter_places():
            points = pairwise(zip(moments, ring.column(place), strict=True))
            drawn[name] = [_rate(before, after, low, high=high) for (before, low), (after, high) in points]
        return drawn


def _plain(value: float) -> float | int:
    """Whole numbers as such: they travel as JSON, twice a second."""
    return int(value) if value.is_integer() else value


def _rate(before: float, after: float, low: float, *, high: float) -> float:
    seconds = after - before
    # A table that was made anew begins at 0: that is not a negative rate.
    return round(max(0.0, high - low) / seconds, 2) if seconds > 0 else 0.0
