"""How well each configured thing did in the last minute: the master looks at its counters once a second, and writes
what it finds into its own block, where every reader of the table finds it.

Nobody who counts pays for it. A reader needs no past: `pstatus` says at once what has been going wrong since when, and
for how many: whom workers turn away they note themselves (supervisor/table/affected.py), and here that is cleared when
a thing is well again, so that "since when" and "for how many" are of the same time.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from supervisor.table.affected import Affected
from supervisor.table.contents import CONDITIONS, HEALTH_CELLS, UP, Counter, Health
from supervisor.table.records import Records
from supervisor.table.segment import Segment

STEP_SECONDS = 5.0
STEPS = 12
"""A minute is so many steps."""


class HealthSample(NamedTuple):
    """Counters at one moment."""

    good: int
    bad: tuple[int, ...]
    """By label."""


@dataclass
class _ThingHealth:
    """One thing, from one look to the next."""

    index: int
    last: HealthSample
    began: float
    """When the newest of `steps` was taken."""
    steps: deque[HealthSample] = field(default_factory=lambda: deque(maxlen=STEPS))
    """The oldest one is a minute old, or as old as the thing."""
    reason: int = 0
    failed: float = 0.0
    since: float = 0.0
    is_noted: bool = False
    """Somebody may be noted as affected."""


class HealthWatch:
    """Looks at all sorts of things whose health a program has told watchers of."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._counters = {row.name: row for row in segment.layout.counters}
        healths = segment.layout.healths
        self._watched: dict[str, dict[str, _ThingHealth]] = {health.by: {} for health in healths}
        self._follows = {one.by: _following(self._counters[one.bad]) for one in healths}
        self._affected = {one.by: Affected(segment.layout, segment.map, one.by) for one in healths}
        self._found = {one.by: Records(segment.layout, segment.map, one.record) for one in healths if one.record}

    def look(self, indexes: Mapping[str, Mapping[str, int]], now: float) -> None:
        """One round. `indexes`: sort → id → index, as the running config has it; `now`: seconds since 1970."""
        if not self._watched:
            return
        blocks = self._segment.blocks_in_use()
        for health in self._segment.layout.healths:
            known, wanted = self._watched[health.by], indexes.get(health.by, {})
            for ident, gone in known.items():
                if wanted.get(ident) != gone.index:
                    self._write(health, gone.index, [0] * len(HEALTH_CELLS))
            self._watched[health.by] = {
                ident: self._look(health, ident, index, known=known.get(ident), blocks=blocks, now=now)
                for ident, index in wanted.items()
            }

    def _look(
        self,
        health: Health,
        ident: str,
        index: int,
        *,
        known: _ThingHealth | None,
        blocks: Sequence[memoryview],
        now: float,
    ) -> _ThingHealth:
        sample = self._sample(health, index, blocks)
        if known is None or known.index != index:
            known = _ThingHealth(index, sample, now)
            known.steps.append(sample)
            self._affected[health.by].clear(index)
        _note(known, sample, now, follows=self._follows[health.by])
        self._show(health, known)
        if known.is_noted and not known.since and self._is_up(health, ident, index):
            known.is_noted = False
            self._affected[health.by].clear(index)
        return known

    def _is_up(self, health: Health, ident: str, index: int) -> bool:
        """Whether it is not found to be anything else: then who was turned away is of a trouble that is over."""
        found = self._found[health.by].read(index) if health.by in self._found else None
        return found is None or found["ident"] != ident or found["word"] == UP

    def _sample(self, health: Health, index: int, blocks: Sequence[memoryview]) -> HealthSample:
        good, bad = self._counters[health.good], self._counters[health.bad]
        return HealthSample(sum(self._read(good, index, blocks)), tuple(self._read(bad, index, blocks)))

    def _read(self, row: Counter, index: int, blocks: Sequence[memoryview]) -> list[int]:
        first = self._segment.layout.counter_cells[row.name] + index * row.width
        return [sum(block[cell] for block in blocks) for cell in range(first, first + row.width)]

    def _show(self, health: Health, known: _ThingHealth) -> None:
        """What stands in the table: numbers of the last minute, and what was last wrong."""
        past = known.steps[0]
        values = [1, known.last.good - past.good, sum(known.last.bad) - sum(past.bad)]
        self._write(health, known.index, [*values, known.reason, int(known.failed), int(known.since)])

    def _write(self, health: Health, index: int, values: Sequence[int]) -> None:
        block = self._segment.block(0)
        for cell, value in enumerate(values, self._segment.layout.health_cells[health.by] + index * len(HEALTH_CELLS)):
            block[cell] = value


def _following(bad: Counter) -> frozenset[int]:
    """The labels that tell what a thing was found to be, by their indexes: no failures of its own."""
    return frozenset(index for index, label in enumerate(bad.labels) if label in CONDITIONS)


def _note(known: _ThingHealth, sample: HealthSample, now: float, *, follows: frozenset[int]) -> None:
    """What has happened since the last look."""
    grown = [new - old for new, old in zip(sample.bad, known.last.bad, strict=True)]
    if any(grown):
        most = max(range(len(grown)), key=lambda label: (label not in follows and grown[label] > 0, grown[label]))
        if most not in follows or not known.reason:
            known.reason = most + 1
        known.failed = now
        known.since = known.since or now
        known.is_noted = True
    known.last = sample
    if now - known.began >= STEP_SECONDS:
        known.steps.append(sample)
        known.began = now
    if known.since and sample.bad == known.steps[0].bad:
        known.since = 0.0
