"""The last failures of each thing: when, why, how many. In memory, bounded, and lost with who looks. Pure.

A counter by reason tells what has grown since the last look; what goes on for the same reason is one entry.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from supervisor.table.contents import Health
from supervisor.table.layout import Layout
from supervisor.table.segment import Reading

MOST_KEPT = 12
"""How many failures are kept of each thing."""
_GOES_ON_SECONDS = 60.0


class FailureSeen(NamedTuple):
    """So many failures for one reason, without a pause of a minute; moments are seconds since 1970."""

    reason: str
    first: float
    last: float
    times: int


class LastFailures:
    """The last failures of all things of the sorts whose health is kept."""

    def __init__(self, layout: Layout) -> None:
        self._watched = [(health, _labels(health, layout)) for health in layout.healths]
        self._before: dict[tuple[str, str], Sequence[int]] = {}
        self._seen: dict[tuple[str, str], deque[FailureSeen]] = {}

    def look(self, readings: Mapping[str, Iterable[Reading]], now: float) -> None:
        """Once in a while; what is gone from the configuration is forgotten."""
        counted = {key: (labels, numbers) for key, labels, numbers in self._read(readings)}
        for key, (labels, numbers) in counted.items():
            before = self._before.get(key, numbers)
            for label, new, old in zip(labels, numbers, before, strict=True):
                if new > old:
                    self._note(self._seen.setdefault(key, deque(maxlen=MOST_KEPT)), label, new - old, now=now)
        self._before = {key: numbers for key, (_labels, numbers) in counted.items()}
        self._seen = {key: kept for key, kept in self._seen.items() if key in counted}

    def of(self, sort: str, ident: str) -> list[FailureSeen]:
        """The failures of one thing, what came last in front."""
        return sorted(self._seen.get((sort, ident), ()), key=lambda one: -one.last)

    def _read(
        self, readings: Mapping[str, Iterable[Reading]]
    ) -> Iterator[tuple[tuple[str, str], Sequence[str], Sequence[int]]]:
        for health, labels in self._watched:
            for reading in readings[health.bad]:
                yield (health.by, reading.ident), labels, reading.numbers

    @staticmethod
    def _note(kept: deque[FailureSeen], reason: str, count: int, *, now: float) -> None:
        for place, one in enumerate(kept):
            if one.reason == reason and now - one.last < _GOES_ON_SECONDS:
                kept[place] = one._replace(last=now, times=one.times + count)
                return
        kept.append(FailureSeen(reason, first=now, last=now, times=count))


def _labels(health: Health, layout: Layout) -> Sequence[str]:
    (counter,) = (row for row in layout.counters if row.name == health.bad)
    return counter.labels or ("",)
