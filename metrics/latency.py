"""How long something takes: read from the buckets of a histogram, of late or since they began. Pure.

latency_of(bounds, numbers)          mean, median and 99 % of what was observed
recent = RecentDurations()
recent.add(now, {("connect", "b1"): numbers, …})    once a second
recent.of(("connect", "b1"))         the numbers of the last minute only
"""

import itertools
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

STEP_SECONDS = 5.0
STEPS = 12
"""A minute is so many steps."""


class Latency(NamedTuple):
    """How long things took, in seconds. Quantiles are read between the buckets' bounds, as Prometheus does."""

    times: int
    mean: float
    median: float
    late: float
    """99 % took no longer."""


def latency_of(bounds: Sequence[int], numbers: Sequence[int]) -> Latency | None:
    """From the upper ends of the buckets in microseconds, and the cells of a histogram: what is in each bucket, and the
    sum. None if nothing was observed.
    """
    *buckets, total = numbers
    count = sum(buckets)
    if not count:
        return None
    median, late = (_quantile(part, bounds, buckets) for part in (0.5, 0.99))
    return Latency(count, mean=total / count / 1e6, median=median, late=late)


def _quantile(part: float, bounds: Sequence[int], buckets: Sequence[int]) -> float:
    wanted, below = part * sum(buckets), 0
    for low, high, inside in zip((0, *bounds), (*bounds, bounds[-1]), buckets, strict=True):
        if inside and below + inside >= wanted:
            return (low + (high - low) * (wanted - below) / inside) / 1e6 if high > low else low / 1e6
        below += inside
    return bounds[-1] / 1e6


class RecentDurations:
    """What the cells of histograms were during the last minute, in steps; in memory, and bounded by what there is."""

    def __init__(self) -> None:
        self._steps: deque[Mapping[Hashable, Sequence[int]]] = deque(maxlen=STEPS)
        self._now: Mapping[Hashable, Sequence[int]] = {}
        self._began = float("-inf")

    def add(self, now: float, cells: Mapping[Hashable, Sequence[int]]) -> None:
        """`now`: seconds of a clock that only goes forward."""
        self._now = cells
        if now - self._began >= STEP_SECONDS:
            self._steps.append(cells)
            self._began = now

    def of(self, key: Hashable) -> Sequence[int]:
        """What these cells have counted in the last minute; nothing for a key that is not there."""
        numbers = self._now.get(key, ())
        oldest = self._steps[0] if self._steps else {}
        before = oldest.get(key, ())
        if len(before) != len(numbers) or any(new < old for new, old in zip(numbers, before, strict=True)):
            return numbers  # it was not there, or another one had its name: all of it is of the last minute
        return list(itertools.starmap(lambda new, old: new - old, zip(numbers, before, strict=True)))
