"""Where a worker counts what belongs to the configured things: the cells of its block, under one config.

    ledger.count("login_failures", "password", "v1")
    ledger.observe("login_duration", seconds, "v1")

A service makes one from its config; a cell is looked up once and then kept. Counting is for the event loop's thread
only, because an addition in shared memory is two steps.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from supervisor.table.layout import Counter, Histogram, Layout


class _Buckets(NamedTuple):
    first: int
    bounds: tuple[int, ...]
    sum_cell: int


class Ledger:
    """The cells of one block, by counter, label and id."""

    __slots__ = ("_buckets", "_cells", "_counters", "_histograms", "_layout", "_numbers", "_places")

    def __init__(self, layout: Layout, block: memoryview, places: Mapping[str, Mapping[str, int]]) -> None:
        """`places`: sort → id → place, as the config has it."""
        self._layout = layout
        self._numbers = block
        self._places = places
        self._counters = {row.name: row for row in layout.counters}
        self._histograms = {row.name: row for row in layout.histograms}
        self._cells: dict[tuple[str, str | None, str], int] = {}
        self._buckets: dict[tuple[str, str], _Buckets] = {}

    def count(self, counter: str, label: str | None = None, ident: str = "", amount: int = 1) -> None:
        """Counts an event, or an amount. `ident` is the id of the thing by whose sort the counter is kept."""
        try:
            cell = self._cells[counter, label, ident]
        except KeyError:
            cell = self._cells[counter, label, ident] = self.cell(counter, label, ident)
        self._numbers[cell] += amount

    def observe(self, histogram: str, seconds: float, ident: str = "") -> None:
        """Counts a duration in its bucket, and adds it to the sum."""
        try:
            first, bounds, sum_cell = self._buckets[histogram, ident]
        except KeyError:
            first, bounds, sum_cell = self._buckets[histogram, ident] = self._find_buckets(histogram, ident)
        microseconds = int(seconds * 1e6 + 0.5)
        numbers = self._numbers
        numbers[first + bisect_left(bounds, microseconds)] += 1
        numbers[sum_cell] += microseconds

    def cell(self, counter: str, label: str | None = None, ident: str = "") -> int:
        """Where it is counted: `block[cell] += 1` is the quickest way. To be looked up once."""
        row = self._counters[counter]
        cell = self._first(row, ident)
        return cell if label is None else cell + row.labels.index(label)

    def _find_buckets(self, histogram: str, ident: str) -> _Buckets:
        row = self._histograms[histogram]
        first = self._first(row, ident)
        return _Buckets(first, row.bounds, first + len(row.bounds) + 1)

    def _first(self, row: Counter | Histogram, ident: str) -> int:
        """The first cell of an id. One without a place counts in the last one, which has no name."""
        first = self._layout.counter_cells[row.name]
        if not row.by:
            return first
        nameless = self._layout.place_counts[row.by] - 1
        return first + row.width * self._places.get(row.by, {}).get(ident, nameless)
