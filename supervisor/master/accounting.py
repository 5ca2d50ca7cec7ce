"""The master's session accounting: the table's rows, the tokens, and what is recovered when a worker dies.

Invariants, whenever no session is just beginning or ending: tokens in the pipe + sessions = maxsession; started − ended
= sessions; a counter never falls.
"""

import ipaddress
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from supervisor import metric
from supervisor.common_metrics import endings_of, metrics_of
from supervisor.control.commands.variables import files_wanted
from supervisor.master.pool import WorkerProcess
from supervisor.operatorstate import OrderEntry
from supervisor.program import Program
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.logroom import LOG_ROOM_OCTETS
from supervisor.serving.counters import Counters
from supervisor.table.blocked import BLOCKED, MOST_BLOCKED, Network
from supervisor.table.contents import BASE_COLUMNS, TOKEN_CELL, Counter, Histogram, IndexRange
from supervisor.table.distinct import REGISTERS
from supervisor.table.indexes import CounterIndexes
from supervisor.table.layout import Layout
from supervisor.table.notes import Note
from supervisor.table.segment import Segment, View, memory_octets
from supervisor.table.sightings import Sighting
from supervisor.table.tokens import TokenPipe, lost

MOST_TOLD_APART = 32
"""So many things of a sort have counters of their own where no start option limits their number; what is beyond counts
without its name.
"""


WATCHED_GAUGES = ("waiting", "soonest_end", "workers_missing", "workers_missing_since")
"""For readers who have the table only: how many clients wait to be accepted, when the first of the things ends that
have an end (seconds since 1970; 0: none has), and how many slots have been vacant for some time, and since when.
"""


def table_layout(program: Program, blocks: int, ceilings: Mapping[str, int]) -> Layout:
    """The table of a program: what the supervisor keeps of every session, and then the program's own.

    Of each sort there are twice as many indexes as things, so that one that is removed keeps its numbers for a while.
    """
    metrics = metrics_of(program)
    counters, histograms = metric.counters(metrics), metric.histograms(metrics)
    rows: tuple[Counter | Histogram, ...] = (*counters, *histograms)
    sorts = dict.fromkeys(row.by for row in rows if row.by)
    return Layout(
        program=program.magic,
        columns=(*BASE_COLUMNS, *program.columns),
        counters=counters,
        gauges=(*metric.gauges(metrics), *WATCHED_GAUGES),
        states=tuple(program.states),
        endings=endings_of(program),
        block_count=blocks,
        row_count=ceilings["sessionlimit"],
        histograms=histograms,
        indexes=tuple(IndexRange(sort, 2 * ceilings.get(sort, MOST_TOLD_APART) + 1) for sort in sorts),
        healths=program.watched.healths,
        rates=program.watched.rates,
        records=(*program.records, *(one.record for one in program.standings)),
        log_room=LOG_ROOM_OCTETS,
        memory=memory_octets(ceilings["sessionlimit"]) if program.remembers else 0,
        affected=REGISTERS,
        tones=program.watched.tones,
        looks=program.watched.looks,
        kick=program.watched.kick,
        event_counters=metric.event_counters(metrics),
    )


def block_count(slots: int) -> int:
    """How many processes can count at once: the master, and for each slot a worker and some that are leaving."""
    return max(64, 4 * slots) + 1


class Accounting:
    """The table and the tokens of a running program."""

    def __init__(self, segment: Segment, log: Log, *, open_files: int) -> None:
        """`open_files`: as many as a worker may have. Raises OSError."""
        self.segment = segment
        self._open_files = open_files
        layout = segment.layout
        self.tokens = TokenPipe(layout.row_count)
        self.indexes = CounterIndexes(self.segment)
        self._view = View(self.segment.map)
        self._remembered = segment.remembered() if layout.memory else None
        self._blocked = segment.blocked() if layout.memory else None
        self._notes = segment.notes() if layout.memory else None
        self._sightings = segment.sightings() if layout.memory else None
        self.count = Counters(layout, self.segment.block(0), {}).count
        """Counts something that the master does."""
        self._log = log
        self._issued = 0
        self._longest_hold = 0.0

    def issue(self, maxsession: int) -> None:
        """There may be so many sessions from now on; never fewer than before."""
        wanted = files_wanted(maxsession)
        if maxsession > self._issued and self._open_files < wanted:
            self._log(messages.LIMIT_LOW, limit=self._open_files, wanted=wanted)
        self.tokens.put(range(self._issued, maxsession))
        self._issued = max(self._issued, maxsession)

    def set_gauges(self, **values: int) -> None:
        for name, value in values.items():
            self.segment.set_gauge(name, value)

    def count_move(self, result: str, held: float) -> None:
        """A move is over, and has held for so many seconds."""
        self.count("moves", result)
        self._longest_hold = max(self._longest_hold, held)
        self.set_gauges(longest_move_hold_ms=round(1000 * self._longest_hold))

    def count_sessions(self) -> int:
        """How many tokens are out; to count the rows would cost more, and is a moment old as well."""
        return self._issued - self.tokens.count()

    def count_waiters(self) -> int:
        """How many clients workers have accepted for whom no session is free."""
        return sum(row["waiters"] for row in self._view.workers())

    def sessions(self) -> list[dict[str, Any]]:
        """The living sessions."""
        return self._view.sessions()

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        """What workers found out about configured things, by id."""
        return self._view.records(name)

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

    def blocked(self) -> dict[Network, float]:
        """The networks that are blocked now."""
        listed = self._blocked.listed() if self._blocked is not None else {}
        return {network: until for network, until in listed.items() if not until or until > time.time()}

    def block(self, network: Network, seconds: int | None) -> bool:
        """Blocks a network for so many seconds (None: for ever, 0: no longer). False if the list is full."""
        networks = self.blocked()
        networks.pop(network, None)
        if seconds != 0:
            networks[network] = time.time() + seconds if seconds is not None else 0.0
        if self._blocked is None or len(networks) > MOST_BLOCKED:
            return False
        self._blocked.write(networks)
        return True

    def block_again(self, entries: Iterable[OrderEntry]) -> None:
        """Blocks what was kept, or no longer, as far as it is about networks."""
        for sort, ident, value in entries:
            if sort == BLOCKED:
                with suppress(ValueError):  # a file that people have written in may have anything
                    self.block(ipaddress.ip_network(ident), _seconds_left(value))

    def noted(self) -> list[Note]:
        """What workers have noted for the operator of late."""
        return self._notes.listed() if self._notes is not None else []

    def seen(self, about: str) -> list[Sighting]:
        """Whom workers have seen doing this."""
        return self._sightings.listed(about) if self._sightings is not None else []

    def recover(self, dead: WorkerProcess, living: list[WorkerProcess]) -> int:
        """Frees a dead worker's rows, puts back every token that died with it, and counts the sessions that it lost."""
        pids = {worker.pid for worker in living}
        issued = range(self._issued)
        # The order matters: see supervisor.table.tokens.lost.
        dropped = self.segment.block(dead.block)[TOKEN_CELL] - 1
        in_pipe = self.tokens.drain()
        in_cells = {row["hand"] - 1 for row in self._view.workers() if row["pid"] in pids}
        reader = self.segment.reader
        owners = {token: reader.owner(token) for token in issued}
        missing = lost(issued, in_pipe, in_cells, owners=owners, living=pids, dropped=dropped)
        for token in missing:
            self.segment.free_row(token, os.getpid())
        if self._remembered is not None:
            self._remembered.give_back(missing)
        sessions = self._end_lost_sessions(dead.block)
        self._take_off(dead.block)
        self.tokens.put([*in_pipe, *missing])
        if missing:
            self._log(messages.TOKENS_RECOVERED, tokens=len(missing), sessions=sessions)
        return sessions

    def _take_off(self, block: int) -> None:
        """Takes off what a dead worker counted as being there now."""
        layout, cells = self.segment.layout, self.segment.block(block)
        for row in layout.counters:
            if row.falls:
                for cell in range(*layout.counter_slices[row.name].indices(len(cells))):
                    cells[cell] = 0

    def _end_lost_sessions(self, block: int) -> int:
        """Ends in the counters what a dead worker had begun and not ended.

        Its own counters tell that exactly: a session is counted before its row is written, and its row is freed before
        its ending is counted, so the rows may be one behind.
        """
        layout, cells = self.segment.layout, self.segment.block(block)
        started, ended = layout.counter_slices["sessions_started"], layout.counter_slices["sessions_ended"]
        sessions = sum(cells[started]) - sum(cells[ended])
        cells[ended.start + layout.endings.index("worker_died")] += sessions
        return sessions


def _seconds_left(value: Mapping[str, Any] | None) -> int | None:
    """How long an order still holds; None: for ever."""
    until = 0 if value is None else value.get("until")
    return None if until is None else max(0, math.ceil(until - time.time()))
