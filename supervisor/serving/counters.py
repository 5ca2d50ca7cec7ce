"""Where a worker counts what belongs to the configured things: the cells of its block, under one config.

    counters.count("login_failures", "password", "v1")
    counters.observe("login_duration", seconds, "v1")
    login = counters.observer("login_duration", "v1")    once, and then
    login.observe(seconds)                               in every session

A service makes one from its config; a cell is looked up once and then kept. Counting is for the event loop's thread
only, because an addition in shared memory is two steps.
"""

from collections.abc import Mapping

from supervisor.system import Observer, Shared
from supervisor.table.contents import Counter, Histogram
from supervisor.table.layout import Layout


class Counters:
    """The cells of one block, by counter, label and id."""

    __slots__ = ("_cells", "_counters", "_histograms", "_indexes", "_layout", "_observers", "_shared")

    def __init__(self, layout: Layout, block: memoryview, indexes: Mapping[str, Mapping[str, int]]) -> None:
        """`indexes`: sort → id → index, as the config has it."""
        self._layout = layout
        self._shared = Shared(block)
        self._indexes = indexes
        self._counters = {row.name: row for row in layout.counters}
        self._histograms = {row.name: row for row in layout.histograms}
        self._cells: dict[str, dict[str, dict[str | None, int]]] = {}
        """By counter, id and label: one after the other, because a tuple takes four times as long to look for."""
        self._observers: dict[tuple[str, str], Observer] = {}

    def count(self, counter: str, label: str | None = None, ident: str = "", *, amount: int = 1) -> None:
        """Counts an event, or an amount. `ident` is the id of the thing by whose sort the counter is kept."""
        self._shared.add(self._cell(counter, label, ident), amount)

    def count_one(self, counter: str, label: str | None, ident: str) -> None:
        """Counts an event; for who does so in every session."""
        self._shared.add(self._cell(counter, label, ident), 1)

    def _cell(self, counter: str, label: str | None, ident: str) -> int:
        by_id = self._cells.get(counter)
        if by_id is None:
            by_id = self._cells[counter] = {}
        by_label = by_id.get(ident)
        if by_label is None:
            by_label = by_id[ident] = {}
        cell = by_label.get(label)
        if cell is None:
            cell = by_label[label] = self.cell(counter, label, ident)
        return cell

    def observe(self, histogram: str, seconds: float, ident: str = "") -> None:
        """Counts a duration in its bucket, and adds it to the sum."""
        try:
            observer = self._observers[histogram, ident]
        except KeyError:
            observer = self._observers[histogram, ident] = self.observer(histogram, ident)
        observer.observe(seconds)

    def observer(self, histogram: str, ident: str = "") -> Observer:
        """What `observe` does, for what happens in every session: to be looked up once. The counter of these events, if
        there is one (`CountOf` of supervisor/metric.py), counts each of them too.
        """
        row, counter = self._histograms[histogram], self._layout.event_counters.get(histogram)
        event = -1 if counter is None else self.cell(counter, None, ident)
        return Observer(self._shared, self._first(row, ident), bounds=row.bounds, event=event)

    def cell(self, counter: str, label: str | None = None, ident: str = "") -> int:
        """Where it is counted: `cells[cell] += 1` is the quickest way. To be looked up once."""
        row = self._counters[counter]
        cell = self._first(row, ident)
        return cell if label is None else cell + row.labels.index(label)

    def _first(self, row: Counter | Histogram, ident: str) -> int:
        """The first cell of an id. One without an index counts in the last one, which has no name."""
        first = self._layout.counter_cells[row.name]
        if not row.by:
            return first
        nameless = self._layout.index_counts[row.by] - 1
        return first + row.width * self._indexes.get(row.by, {}).get(ident, nameless)
