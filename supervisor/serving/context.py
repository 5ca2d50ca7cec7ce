"""What a program has at hand in a worker: the event loop, the log, the wheel of deadlines, its counters, and its rows
of the table.
"""

import os
from collections.abc import Callable, Mapping

from supervisor.operatorstate import OperatorState
from supervisor.runtime.log import Log
from supervisor.serving.counters import Counters
from supervisor.serving.eventloop import EventLoop
from supervisor.serving.session import Session
from supervisor.serving.threadpool import ThreadPool
from supervisor.serving.wheel import Wheel
from supervisor.system import Shared, give_number
from supervisor.table.affected import Affected
from supervisor.table.blocked import Blocked
from supervisor.table.contents import BIRTH_CELL, TOKEN_CELL
from supervisor.table.notes import Notes
from supervisor.table.records import Records
from supervisor.table.remembered import Remembered
from supervisor.table.rows import RowWriter
from supervisor.table.segment import Segment
from supervisor.table.sightings import Sightings
from supervisor.table.tokens import TokenPipe

PAUSES = ("sessions", "load", "descriptors")
"""Why a worker stops to accept: no session is free, the load is too high, the kernel gives it no descriptor."""

POOL_THREADS = 8
"""Threads of a worker for what may block: password hashes, files, modules without an asynchronous driver."""


def threads_to_compute(workers: int, processors: int | None = None) -> int:
    """How many of them a worker, one of so many, has for what only computes: its share of the processors, and one more
    for what waits for a disk after all. More would take the processors from the event loops and make no hash quicker.
    """
    available = len(os.sched_getaffinity(0)) if processors is None else processors
    return max(2, min(POOL_THREADS, -(-available // workers) + 1))


class WorkerContext:
    """One for each worker process. Not shared, not thread-safe: for the event loop's thread only."""

    __slots__ = (
        "_all_cells",
        "_all_shared",
        "_block_cells",
        "_durations",
        "_endings",
        "_in_second",
        "_layout",
        "_pipe",
        "_released",
        "_second",
        "_segment",
        "_stamp",
        "_used_cells",
        "block",
        "cells",
        "clock",
        "core",
        "count",
        "counters",
        "leaving",
        "log",
        "loop",
        "operator",
        "pid",
        "pool",
        "request",
        "rows",
        "sessions",
        "shared",
        "statedir",
        "wheel",
    )

    def __init__(
        self,
        loop: EventLoop,
        log: Log,
        segment: Segment,
        *,
        block: int,
        tokens: TokenPipe,
        released: Callable[[], None],
        request: Callable[[object], None],
        operator: OperatorState | None = None,
        statedir: str = "",
    ) -> None:
        """`released` is called when a session is over in a worker that is leaving; `request` hands an action
        (`Action`) to the master, as if an operator had given it. `statedir`: where is kept what
        outlives the program.
        """
        self.statedir = statedir
        self.request = request
        self.operator = operator or OperatorState()
        """What the operator has ordered; changed by the worker, when the master says so."""
        self.loop = loop
        self.core = loop.core
        self.clock = loop.clock
        self.log = log
        self.wheel = Wheel(loop)
        self.pool = ThreadPool(POOL_THREADS, "pool")
        self.pid = os.getpid()
        self.block = block
        self.cells = segment.block(block)
        self.shared = Shared(self.cells)
        """The worker's cells, to be written."""
        self.sessions: dict[int, Session] = {}
        """By token, the oldest first."""
        self._released = released
        self.leaving = False
        """The worker goes when its last session is over."""
        self._segment = segment
        self._layout = segment.layout
        self._all_cells = self._used_cells = segment.all_cells
        self._all_shared = Shared(self._all_cells)
        self._block_cells = segment.layout.block_size // 8
        self.look_for_blocks()
        self.counters = self.open_counters({})
        """For what does not belong to a configured thing."""
        self.count = self.counters.count
        self._pipe = tokens.write_end
        self.rows: RowWriter = segment.row_writer(block)
        """To show a session in the table; `pid` is ours."""
        self._durations = self.counters.observer("session_duration")
        self._endings = {ending: self.counters.cell("sessions_ended", ending) for ending in segment.layout.endings}
        self._second = 0
        self._in_second = 0
        self._stamp = ""

    def open_counters(self, indexes: Mapping[str, Mapping[str, int]]) -> Counters:
        """Where to count under a config that has these indexes."""
        return Counters(self._layout, self.cells, indexes)

    def open_records(self, name: str) -> Records:
        """What all workers know of the things of a sort, by index; each of them may write it."""
        return Records(self._layout, self._segment.map, name)

    def open_affected(self, sort: str) -> Affected:
        """How many are affected by the failures of each thing of a sort, by index; each worker may note somebody."""
        return Affected(self._layout, self._segment.map, sort)

    def open_remembered(self) -> Remembered:
        """What all workers remember together; of programs that do so."""
        return self._segment.remembered()

    def open_blocked(self) -> Blocked:
        """The networks that are blocked; of the same programs."""
        return self._segment.blocked()

    def open_notes(self) -> Notes:
        """What workers note for the operator; of the same programs."""
        return self._segment.notes()

    def open_sightings(self) -> Sightings:
        """Whom workers have seen doing what the operator asks about; of the same programs."""
        return self._segment.sightings()

    def sum(self, cell: int) -> int:
        """What a cell comes to over all processes, at this moment."""
        return self._all_shared.total(cell, self._block_cells, len(self._used_cells))

    def each(self, cell: int) -> memoryview:
        """A cell of all processes, by block."""
        return self._used_cells[cell :: self._block_cells]

    def look_for_blocks(self) -> None:
        """To be called once in a while: which blocks are in use. To add up all that there may ever be takes longer."""
        births = self._all_cells[BIRTH_CELL :: self._block_cells].tolist()
        used = max((block for block, birth in enumerate(births) if birth), default=0)
        self._used_cells = self._all_cells[: (max(used, self.block) + 1) * self._block_cells]

    def register(self, row_number: int, session: Session, started_cell: int) -> None:
        """A session has begun, `started_cell` counts it; its first row is to be written at once."""
        self.sessions[row_number] = session
        self.shared.add(started_cell, 1)

    def unregister(self, row_number: int, ending: str, seconds: float) -> None:
        """The session is over after so many seconds: frees its row, counts its ending, gives the token back.

        Exactly once for each session that was registered.
        """
        del self.sessions[row_number]
        self.rows.free(row_number, self.pid)
        self.shared.add(self._endings[ending], 1)
        self._durations.observe(seconds)
        self._put_back(row_number)
        if self.leaving:
            self._released()

    def is_over(self, row_number: int) -> bool:
        """Whether its last session was one of ours, and nobody has begun another one with it since."""
        return row_number not in self.sessions and self._segment.reader.owner(row_number) == self.pid

    def decline(self, row_number: int) -> None:
        """Nobody was there to be served: gives the token back. Its row says first that it was here (tokens.lost)."""
        self.rows.free(row_number, self.pid)
        self._put_back(row_number)

    def _put_back(self, row_number: int) -> None:
        """The token cell is emptied first: what is in a dead worker's cell counts as lost with it."""
        shared = self.shared
        if shared.read(TOKEN_CELL) == row_number + 1:
            shared.write(TOKEN_CELL, 0)
        give_number(self._pipe, row_number + 1)  # as tokens.wire has it

    def session_id(self, prefix: str, now: float) -> str:
        """`PREFIX.TIME.PID`, with `-2`, `-3`, … from the second of the same second on.

        `now`: seconds since 1970. Never goes back with the clock.
        """
        if now >= self._second + 1:
            self._second, self._in_second = int(now), 1
            self._stamp = f".{self._second}.{self.pid}"
            return prefix + self._stamp
        self._in_second += 1
        return f"{prefix}{self._stamp}-{self._in_second}"
