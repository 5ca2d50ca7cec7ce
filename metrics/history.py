"""The last minutes, for the small graphs of the status page: a ring of samples, in memory, lost with the exporter.

    history.add(sample)              once a second
    history.series("2m")             the last two minutes, a point a second
    history.series("1h")             the last hour, a point every ten seconds

Pure: the clock comes with the sample. Rates are differences of counters between two samples, so that a second that was
missed spoils nothing.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple


class Sample(NamedTuple):
    """What was so at one moment."""

    moment: float
    """Seconds of a monotonic clock."""
    sessions: int
    """Living sessions."""
    logins: int
    """Logins since the program started; only grows."""
    failures: int
    """Failed logins since then; only grows."""
    load: float
    """The system's 1-minute load average."""


class Span(NamedTuple):
    """A length of time that can be shown."""

    step: int
    """Seconds from point to point."""
    points: int


SPANS = {"2m": Span(1, 120), "1h": Span(10, 360)}
SHORTEST = next(iter(SPANS))

_JITTER = 0.5
"""A sample that comes this part of a second early counts as being in time."""


class History:
    """Rings of samples, one for each span. One thread adds; any may read."""

    def __init__(self) -> None:
        self._rings = {name: deque[Sample](maxlen=span.points + 1) for name, span in SPANS.items()}

    def add(self, sample: Sample) -> None:
        """Keeps the sample in every ring whose step has passed."""
        for name, ring in self._rings.items():
            if not ring or sample.moment - ring[-1].moment >= SPANS[name].step - _JITTER:
                ring.append(sample)

    def rates(self) -> tuple[float, float]:
        """Logins and failures a second, over the last few seconds; 0.0 before there are two samples."""
        recent = list(self._rings[SHORTEST])[-_RECENT:]
        if len(recent) < 2:
            return 0.0, 0.0
        first, last = recent[0], recent[-1]
        return _rate(first, last, "logins"), _rate(first, last, "failures")

    def series(self, span: str) -> dict[str, Any]:
        """What is drawn: `step` and `points` of the span, and a list for each graph, the oldest value first."""
        ring = list(self._rings[span])
        return {
            "span": span,
            "step": SPANS[span].step,
            "points": SPANS[span].points,
            "sessions": [sample.sessions for sample in ring[1:]],
            "logins": _rates(ring, "logins"),
            "failures": _rates(ring, "failures"),
            "load": [sample.load for sample in ring[1:]],
        }


_RECENT = 6
"""Samples that a rate of the moment is taken from: five seconds."""


def _rates(ring: Sequence[Sample], counter: str) -> list[float]:
    return [_rate(before, after, counter) for before, after in pairwise(ring)]


def _rate(before: Sample, after: Sample, counter: str) -> float:
    seconds = after.moment - before.moment
    grown: int = getattr(after, counter) - getattr(before, counter)
    # A table that was made anew begins at 0: that is not a negative rate.
    return round(max(0, grown) / seconds, 2) if seconds > 0 else 0.0
