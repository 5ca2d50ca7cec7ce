"""The master's hold on the table and the tokens: who may have a session, who has one, and what died with a worker.

Invariants, whenever nobody is in between: tokens in the pipe + sessions = maxsession; started − ended = sessions; a
counter never falls.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from supervisor import messages
from supervisor.ledger import Ledger
from supervisor.log import Log
from supervisor.pool import Worker
from supervisor.program import Program
from supervisor.table.layout import BASE_CELLS, BASE_COLUMNS, Counter, Histogram, Layout, Places, microseconds
from supervisor.table.places import PlaceBook
from supervisor.table.segment import Segment, View
from supervisor.table.tokens import TokenPipe, lost
from supervisor.workshop import BASE_ENDINGS, PAUSES

GAUGES = (
    "maxsession",
    "session_state",
    "load_state",
    "load_hundredths",
    "pressure_hundredths",
    "generation",
    "draining",
    "workers",
    "workers_configured",
)

COUNTERS = (
    Counter("accept_pauses", "Times that a worker stopped to accept, by reason.", PAUSES),
    Counter("worker_restarts", "Workers that ended, by cause.", ("exit", "signal", "hung", "asked")),
    Counter("config_changes", "Changes of the configuration that were put in force."),
    Counter("config_change_failures", "Changes of the configuration that were taken back."),
    Counter("control_sentences", "Sentences that were asked for."),
    Counter("control_refusals", "Sentences that were refused."),
)
"""What every program counts, beside its sessions."""

DURATION = Histogram(
    "session_duration",
    "From accept to the end.",
    microseconds(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800),
)

MOST_TOLD_APART = 32
"""Things of a sort for which no option sets a limit; what is beyond counts without its name."""


def table_layout(program: Program, blocks: int, limits: Mapping[str, int]) -> Layout:
    """The table of a program: what the supervisor keeps of every session, and then the program's own.

    Of each sort there are twice as many places as things, so that one that is removed keeps its numbers for a while.
    """
    endings = (*BASE_ENDINGS, *program.endings)
    counters = (
        Counter("sessions_started", "Sessions accepted.", by=program.front),
        Counter("sessions_ended", "Sessions over, by ending.", endings),
        *COUNTERS,
        *program.counters,
    )
    histograms = (DURATION, *program.histograms)
    rows: tuple[Counter | Histogram, ...] = (*counters, *histograms)
    sorts = dict.fromkeys(row.by for row in rows if row.by)
    return Layout(
        program.magic,
        (*BASE_COLUMNS, *program.columns),
        counters,
        GAUGES,
        tuple(program.states),
        endings,
        blocks,
        limits["sessionlimit"],
        histograms,
        tuple(Places(sort, 2 * limits.get(sort, MOST_TOLD_APART) + 1) for sort in sorts),
    )


class Accounts:
    """The table and the tokens of a running program."""

    def __init__(self, name: str, layout: Layout, log: Log) -> None:
        """Makes the segment. Raises OSError."""
        self.segment = Segment.create(name, layout)
        self.tokens = TokenPipe(layout.row_count)
        self.places = PlaceBook(self.segment)
        self._view = View(self.segment.map)
        self.count = Ledger(layout, self.segment.block(0), {}).count
        """Counts something that the master does."""
        self._log = log
        self._issued = 0

    def issue(self, maxsession: int) -> None:
        """There may be so many sessions from now on; never fewer than before."""
        self.tokens.put(range(self._issued, maxsession))
        self._issued = max(self._issued, maxsession)

    def set_gauges(self, **values: int) -> None:
        for name, value in values.items():
            self.segment.set_gauge(name, value)

    def count_sessions(self) -> int:
        """How many tokens are out; to count the rows would cost more, and is a moment old as well."""
        return self._issued - self.tokens.count()

    def sessions(self) -> list[dict[str, Any]]:
        """The living sessions."""
        return self._view.sessions()

    def workers(self) -> list[dict[str, Any]]:
        """The processes that count in the table."""
        now = time.monotonic_ns()
        return [
            {
                "slot": row["slot"],
                "pid": row["pid"],
                "generation": row["generation"],
                "heartbeat_seconds": round((now - row["heartbeat_ns"]) / 1e9, 1) if row["heartbeat_ns"] else None,
            }
            for row in self._view.workers()
        ]

    def recover(self, dead: Worker, living: list[Worker]) -> int:
        """Frees a dead worker's rows, puts back every token that died with it, and counts the sessions that it lost."""
        pids = {worker.pid for worker in living}
        issued = range(self._issued)
        # The order matters: see supervisor.table.tokens.lost.
        dropped = self.segment.block(dead.block)[BASE_CELLS.index("hand")] - 1
        in_pipe = self.tokens.drain()
        hands = {row["hand"] - 1 for row in self._view.workers() if row["pid"] in pids}
        reader = self.segment.reader
        owners = {token: reader.owner(token) for token in issued}
        missing = lost(issued, in_pipe, hands, owners, pids, dropped)
        for token in missing:
            self.segment.free_row(token, os.getpid())
        sessions = self._end_lost_sessions(dead.block)
        self.tokens.put([*in_pipe, *missing])
        if missing:
            self._log(messages.TOKENS_RECOVERED, tokens=len(missing), sessions=sessions)
        return sessions

    def _end_lost_sessions(self, block: int) -> int:
        """Ends in the counters what a dead worker had begun and not ended.

        Its own counters tell that exactly: a session is counted before its row is written, and its row is freed before
        its ending is counted, so the rows may be one behind.
        """
        layout, cells = self.segment.layout, self.segment.block(block)
        first, started = layout.counter_cells["sessions_ended"], layout.counter_cells["sessions_started"]
        begun = sum(cells[started : started + layout.place_counts[layout.counters[0].by]])
        sessions = begun - sum(cells[first : first + len(layout.endings)])
        cells[first + layout.endings.index("worker_died")] += sessions
        return sessions
