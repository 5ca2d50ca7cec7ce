"""Which configured thing counts where: each sort (vserv, backend, …) has a fixed number of indexes, each with a name.

The master gives an id an index when it is configured (`CounterIndexes.settle`), and the config carries the indexes to
the workers, which so find their cells without looking anything up. An index keeps its name when its thing is removed:
whoever still has a session there counts on, and if the thing comes back, so do its numbers. Only when no unused index
is left, the one whose thing was removed longest ago is given away; what was counted there goes into the baseline, so
that the new id begins at 0 while the sums over all indexes never fall. The last index of a sort has no name: there
count the ids for which there was no index.

Only the master writes names and baselines.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from supervisor.table.contents import Counter, Histogram
from supervisor.table.names import write_name
from supervisor.table.segment import Segment

Things = Mapping[str, Mapping[str, Any]]
"""Sort → id → whatever is configured."""

_NOTHING: Things = MappingProxyType({})


class CounterIndexes:
    """Which id has which index; the master's."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._layout = segment.layout
        self._names = {one.sort: [""] * (one.size - 1) for one in self._layout.indexes}
        self._removed: dict[str, dict[str, None]] = {sort: {} for sort in self._names}
        """Ids that are configured no more, the one that was removed first at the beginning."""

    def settle(self, things: Things, running: Things = _NOTHING) -> dict[str, dict[str, int]]:
        """Gives every id an index, and tells which: sort → id → index. What is in `running` keeps its own: workers
        count there until the new things are in force, or for ever if they never will be.
        """
        return {sort: self._settle(sort, things.get(sort, {}), running.get(sort, {})) for sort in self._names}

    def _settle(self, sort: str, wanted: Mapping[str, Any], running: Mapping[str, Any]) -> dict[str, int]:
        names, removed = self._names[sort], self._removed[sort]
        had = {ident: index for index, ident in enumerate(names) if ident}
        for ident in wanted:
            removed.pop(ident, None)
        for ident, index in had.items():
            if ident not in wanted and ident not in running and ident not in removed:
                self._retire(sort, ident, index)
        return {ident: had[ident] if ident in had else self._take(sort, ident) for ident in wanted}

    def _retire(self, sort: str, ident: str, index: int) -> None:
        """The index stays its own, unless nothing was ever counted there."""
        if self._is_blank(sort, index):
            self._name(sort, index, "")
        else:
            self._removed[sort][ident] = None

    def _take(self, sort: str, ident: str) -> int:
        """An unused index, or else that of the id that went first, or else the one without a name."""
        names, removed = self._names[sort], self._removed[sort]
        if "" in names:
            index = names.index("")
        elif removed:
            oldest = next(iter(removed))
            del removed[oldest]
            index = names.index(oldest)
            self._name(sort, index, "")  # nobody is shown with another's numbers while the baseline is set
        else:
            return len(names)
        self._set_baseline(sort, index)
        self._name(sort, index, ident)
        return index

    def _name(self, sort: str, index: int, ident: str) -> None:
        write_name(self._layout, self._segment.map, sort, index=index, ident=ident)
        self._names[sort][index] = ident

    def _cells(self, sort: str, index: int, rows: Iterable[Counter | Histogram]) -> list[int]:
        """Where in a block an index counts what these rows say."""
        layout = self._layout
        return [
            layout.counter_cells[row.name] + index * row.width + cell
            for row in rows
            if row.by == sort
            for cell in range(row.width)
        ]

    def _is_blank(self, sort: str, index: int) -> bool:
        """Whether nothing was counted there since it has its name."""
        baseline = self._segment.block(self._layout.baseline)
        return all(self._segment.sum(cell) == baseline[cell] for cell in self._cells(sort, index, self._layout.counted))

    def _set_baseline(self, sort: str, index: int) -> None:
        """What falls by itself needs none: who is still counted there will be taken off."""
        assert not self._names[sort][index], "nobody's numbers may fall"
        baseline = self._segment.block(self._layout.baseline)
        rows = [row for row in self._layout.counted if isinstance(row, Histogram) or not row.falls]
        for cell in self._cells(sort, index, rows):
            baseline[cell] = self._segment.sum(cell)
