"""Which configured thing counts where: a sort (vserv, backend, …) has a fixed number of places, each with a name.

The master gives an id a place when it is configured (`CounterIndexes.settle`), and the config carries the places to the
workers, who so find their cells without looking anything up. A place keeps its name when its thing is removed: whoever
still has a session there counts on, and if the thing comes back, so do its numbers. Only when no unused place is left,
the one whose thing was removed longest ago is given away; what was counted there goes into the baseline, so that the
new id begins at 0 while the sums over all places never fall. The last place of a sort has no name: there count the ids
for which there was no place.

Only the master writes names and baselines.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from supervisor.table.names import write_name
from supervisor.table.segment import Segment

Things = Mapping[str, Mapping[str, Any]]
"""Sort → id → whatever is configured."""

_NOTHING: Things = MappingProxyType({})


class CounterIndexes:
    """The master's hold on the places."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._layout = segment.layout
        self._names = {places.sort: [""] * (places.size - 1) for places in self._layout.places}
        self._removed: dict[str, dict[str, None]] = {sort: {} for sort in self._names}
        """Ids that are configured no more, the one that went first in front."""

    def settle(self, things: Things, running: Things = _NOTHING) -> dict[str, dict[str, int]]:
        """Gives every id a place, and tells which: sort → id → place. What is in `running` keeps its own: workers
        count there until the new things are in force, or for ever if they never will be.
        """
        return {sort: self._settle(sort, things.get(sort, {}), running.get(sort, {})) for sort in self._names}

    def _settle(self, sort: str, wanted: Mapping[str, Any], running: Mapping[str, Any]) -> dict[str, int]:
        names, removed = self._names[sort], self._removed[sort]
        had = {ident: place for place, ident in enumerate(names) if ident}
        for ident in wanted:
            removed.pop(ident, None)
        for ident, place in had.items():
            if ident not in wanted and ident not in running and ident not in removed:
                self._retire(sort, ident, place)
        return {ident: had[ident] if ident in had else self._take(sort, ident) for ident in wanted}

    def _retire(self, sort: str, ident: str, place: int) -> None:
        """The place stays its own, unless nothing was ever counted there."""
        if self._is_blank(sort, place):
            self._name(sort, place, "")
        else:
            self._removed[sort][ident] = None

    def _take(self, sort: str, ident: str) -> int:
        """An unused place, or else that of the id that went first, or else the one without a name."""
        names, removed = self._names[sort], self._removed[sort]
        if "" in names:
            place = names.index("")
        elif removed:
            oldest = next(iter(removed))
            del removed[oldest]
            place = names.index(oldest)
            self._name(sort, place, "")  # nobody is shown with another's numbers while the baseline is set
        else:
            return len(names)
        self._set_baseline(sort, place)
        self._name(sort, place, ident)
        return place

    def _name(self, sort: str, place: int, ident: str) -> None:
        write_name(self._layout, self._segment.map, sort, place=place, ident=ident)
        self._names[sort][place] = ident

    def _cells(self, sort: str, place: int) -> list[int]:
        """Where in a block a place counts."""
        layout = self._layout
        return [
            layout.counter_cells[row.name] + place * row.width + cell
            for row in layout.counted
            if row.by == sort
            for cell in range(row.width)
        ]

    def _is_blank(self, sort: str, place: int) -> bool:
        """Whether nothing was counted there since it has its name."""
        baseline = self._segment.block(self._layout.baseline)
        return all(self._segment.sum(cell) == baseline[cell] for cell in self._cells(sort, place))

    def _set_baseline(self, sort: str, place: int) -> None:
        baseline = self._segment.block(self._layout.baseline)
        for cell in self._cells(sort, place):
            baseline[cell] = self._segment.sum(cell)
