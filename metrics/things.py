"""What is to be seen of each configured thing of a sort, from the table alone: one value for each. Pure.

The rows of the table say which columns, counters and durations that are (ThingLook in supervisor/table/contents.py), so
that nothing here knows what sort it is. `pstatus` shows them, and so does the status page.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from metrics.latency import Latency, RecentDurations, latency_of
from metrics.trouble import failing_first, is_failing
from supervisor.table.contents import ThingLook
from supervisor.table.layout import Layout
from supervisor.table.segment import HealthReading, Reading, View

STATE, IDENT = "state", "ident"


class ThingSeen(NamedTuple):
    """One of them."""

    health: HealthReading
    sessions: int
    """That live, and have it."""
    counted: dict[str, int]
    """By title."""
    took: dict[str, Latency | None]
    """By title: in the last minute, or, for who looks only once, since it began."""
    standing: dict[str, Any]
    """What the operator has made of it, by the columns of the record; empty if there is none."""

    @property
    def ident(self) -> str:
        return self.health.ident

    @property
    def state(self) -> str:
        """As it is configured; "" if that is not known."""
        return str(self.standing.get(STATE, ""))

    @property
    def is_failing(self) -> bool:
        return is_failing(self.health)

    def ordered(self) -> dict[str, Any]:
        """What is ordered about it beside its state; only what there is."""
        return {name: value for name, value in self.standing.items() if name not in (IDENT, STATE) and value}


def seen(
    view: View, look: ThingLook, sessions: Sequence[Mapping[str, Any]], *, recent: RecentDurations | None = None
) -> list[ThingSeen]:
    """All of a sort, those that fail in front."""
    held = Counter(str(session[look.column]) for session in sessions)
    readings, standings = view.readings(), view.records(look.standing)
    counted = {title: _by_id(readings[name]) for title, name in look.counted}
    bounds = {row.name: row.bounds for row in view.layout.histograms}
    found = []
    for health in failing_first(view.healths()[look.by]):
        ident = health.ident
        standing = standings.get(ident, {})
        cells = {title: _cells(readings, name, ident, recent=recent) for title, name in look.durations}
        found.append(
            ThingSeen(
                health,
                held[ident],
                counted={title: sum(numbers.get(ident, ())) for title, numbers in counted.items()},
                took={title: latency_of(bounds[name], cells[title]) for title, name in look.durations},
                standing=standing if standing.get(IDENT) == ident else {},
            )
        )
    return found


def duration_cells(layout: Layout, readings: Mapping[str, Sequence[Reading]]) -> dict[Hashable, Sequence[int]]:
    """What RecentDurations keeps, by histogram and id."""
    return {
        (name, one.ident): one.numbers
        for look in layout.looks
        for _title, name in look.durations
        for one in readings[name]
    }


def moments_of(layout: Layout, look: ThingLook) -> set[str]:
    """Which columns of the standing are moments, seconds since 1970."""
    return {
        column.name for row in layout.records if row.name == look.standing for column in row.columns
        if column.form == "d"
    }  # fmt: skip


def _by_id(readings: Sequence[Reading]) -> dict[str, Sequence[int]]:
    return {one.ident: one.numbers for one in readings}


def _cells(
    readings: Mapping[str, Sequence[Reading]], name: str, ident: str, *, recent: RecentDurations | None
) -> Sequence[int]:
    if recent is not None:
        return recent.of((name, ident)) or (0,)
    return _by_id(readings[name]).get(ident, (0,))
