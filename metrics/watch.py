"""A table under observation: its sessions, read not too often, and its recent history, for the status page.

Reads the table and never writes it. To read 10,000 sessions takes a tenth of a second, so that they are read at most
once a second, whoever asks.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from metrics import selection
from metrics.failures import LastFailures
from metrics.history import History
from metrics.latency import RecentDurations
from metrics.selection import Session
from metrics.things import duration_cells
from supervisor.table.segment import View
from supervisor.watched import Graph

FRESH_SECONDS = 1.0
LOST = "log_lines_lost"
"""The counter of every program."""


class Moment(NamedTuple):
    """One instant on the two clocks that are in use."""

    now: float
    """Seconds since 1970."""
    ns: int
    """Nanoseconds of the monotonic clock."""

    @classmethod
    def present(cls) -> "Moment":
        return cls(time.time(), time.monotonic_ns())


class Watch:
    """What is kept from one look to the next."""

    def __init__(self, view: View, graphs: Sequence[Graph]) -> None:
        self._view = view
        self._counters = [graph.counter for graph in graphs]
        self.history = History(("sessions", "load"), [graph.key for graph in graphs])
        self.recent = RecentDurations()
        self.failures = LastFailures(view.layout)
        self._sessions: list[Session] = []
        self._masked: list[Session] | None = None
        self._read_ns = -1

    def sample(self, moment: Moment) -> None:
        """Adds a point to the history, and looks what has failed; to be called once a second."""
        counters = self._view.counters()
        load = self._view.gauges().get("load_hundredths", 0) / 100
        drawn = [total(counters[name]) for name in self._counters]
        self.history.add(moment.ns / 1e9, (_living(counters), load, *drawn))
        cells: dict[Hashable, Sequence[int]] = {LOST: (total(counters.get(LOST, 0)),)}
        if self._view.layout.looks:
            readings = self._view.readings()
            self.failures.look(readings, moment.now)
            cells |= duration_cells(self._view.layout, readings)
        self.recent.add(moment.ns / 1e9, cells)

    def lost_lines(self) -> int:
        """How many lines of the log were lost in the last minute."""
        return sum(self.recent.of(LOST))

    def sessions(self, moment: Moment, users: bool) -> list[Session]:
        """The living sessions, masked unless `users`. Not to be changed."""
        if self._read_ns < 0 or moment.ns - self._read_ns > FRESH_SECONDS * 1e9:
            self._sessions, self._masked, self._read_ns = self._view.sessions(), None, moment.ns
        if users:
            return self._sessions
        if self._masked is None:
            masks = selection.masks(self._view.layout)
            self._masked = [selection.masked(session, masks) for session in self._sessions]
        return self._masked


def total(value: Any) -> int:
    """The sum of a counter over all its labels."""
    return sum(map(total, value.values())) if isinstance(value, Mapping) else int(value)


def _living(counters: Mapping[str, Any]) -> int:
    """Sessions begun and not ended; the two are not read at one instant, hence never negative."""
    return max(0, total(counters["sessions_started"]) - total(counters["sessions_ended"]))
