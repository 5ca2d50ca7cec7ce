"""What a session table holds, as a program says it in rows: columns of a session, counters, histograms, records. Pure.

Where each of them stands in the segment: layout.py.
"""

import struct
from typing import NamedTuple


class Column(NamedTuple):
    """A field of a row. `form` is a struct code: "B", "H", "I", "Q", "d", or "64s" for text of at most 64 octets."""

    name: str
    form: str
    help: str
    mask: str = ""
    """What somebody is not told who may not know who it is: "name", "address" or "number"; "" for nothing of that."""
    spare: int = 0
    """How readily a narrow screen does without: the highest first, 0 never."""


class Counter(NamedTuple):
    """A number that only grows. With `labels` it is one number for each of them; `name[label]` in listings.

    With `by` it is kept for each configured thing of that sort. With `falls` it is how many there are now: each process
    takes off what it has added, and when it dies the master does.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    by: str = ""
    falls: bool = False

    @property
    def width(self) -> int:
        """Cells of one index."""
        return max(1, len(self.labels))


class Histogram(NamedTuple):
    """Durations, counted in buckets. `bounds` are their upper ends in microseconds, rising; one without end follows.

    After the buckets stands the sum of what was observed, in microseconds. How many there were is the sum of the
    buckets, so that the two can never disagree.
    """

    name: str
    help: str
    bounds: tuple[int, ...]
    by: str = ""

    @property
    def width(self) -> int:
        """Cells of one index."""
        return len(self.bounds) + 2


def microseconds(*seconds: float) -> tuple[int, ...]:
    """Bounds of a histogram."""
    return tuple(round(second * 1_000_000) for second in seconds)


class IndexRange(NamedTuple):
    """How many things of a sort can be told apart at once."""

    sort: str
    size: int


class Rate(NamedTuple):
    """A counter whose speed is told beside the headline, and by which word; `bad` if it should stand still."""

    counter: str
    word: str
    bad: bool = False


UP, DOWN, RECOVERING = "up", "down", "recovering"
"""What a thing may have been found to be, whatever its configured state."""
CONDITIONS = (UP, DOWN, RECOVERING)


class Health(NamedTuple):
    """How well each thing of a sort did in the last minute, by two of its counters: what went well, and what did not.

    The master keeps it (supervisor/master/health.py), in cells of its own block. A label of `bad` that is one of the
    words above counts who was turned away because the thing had been found to be that: it is the last reason only
    where no other is known.
    """

    by: str
    good: str
    bad: str
    record: str = ""
    """The record, if any, in which the workers say what they have found it to be, in its columns `ident`, `word` (one
    of the above), `since`, `why` and `by` (who has found it).
    """


class ThingLook(NamedTuple):
    """What is to be seen of each configured thing of a sort, for who has the table only: which counters and durations,
    under which titles.
    """

    by: str
    title: str
    """The heading above all of them."""
    column: str
    """Which column of a session's row holds the id."""
    counted: tuple[tuple[str, str], ...] = ()
    """Title, counter."""
    durations: tuple[tuple[str, str], ...] = ()
    """Title, histogram."""
    standing: str = ""
    """The record, if any, in which the master says what the operator has made of it (master/standing.py)."""
    kick: tuple[str, ...] = ()
    """The command that ends the sessions of one: its words, in which =id stands for its id."""


class RecordShape(NamedTuple):
    """What workers find out about each thing of a sort, and all of them and the watchers may know; see records.py."""

    name: str
    by: str
    columns: tuple[Column, ...]

    @property
    def cell_struct(self) -> struct.Struct:
        """Serial number and columns; the checksum stands before them, as in a row."""
        return struct.Struct("<Q" + "".join(column.form for column in self.columns))

    @property
    def cell_size(self) -> int:
        return round_up(8 + self.cell_struct.size, 8)


SERVERS = "servers"
"""The record, where a program has it, in which the master says of each thing that clients connect to its `state`, and
since when it is `drained` (seconds since 1970; 0: it is not).
"""

HEALTH_CELLS = ("watched", "good", "bad", "reason", "failed", "since")
"""Cells of each place: whether its thing is configured; what went well in the last minute, and what did not; then the
last reason (its label's index + 1; 0: none yet), when that was, and since when it goes on (seconds since 1970; 0: it
does not).
"""

BASE_COLUMNS = (
    Column("state", "B", "index into the program's states; 0 is a free row"),
    Column("pid", "I", "process that serves the session", spare=9),
    Column("started", "d", "when the session was accepted, seconds since 1970", spare=1),
    Column("since", "d", "when the row was written last: a new state, or octets passed; seconds since 1970", spare=12),
)

CELLS_OF_VERSION_3 = ("pid", "slot", "generation", "heartbeat_ns", "hand", "lag_ns")
BASE_CELLS = (*CELLS_OF_VERSION_3, "cpu_us", "resident_bytes", "open_fds", "waiting", "displaceable", "waiters")
"""The first cells of a block: who counts here, when it last showed life, the token in its token cell, `hand` (row + 1;
0 = none), how late its event loop was of late, at worst; and what it found out about itself: processor time, memory,
descriptors; and for who makes room where no session is free (worker/displacer.py): how many clients wait, and how many
sessions of one network could be ended for them; and how many clients it has accepted that wait for a session
(worker/waiters.py).
"""

TOKEN_CELL, BIRTH_CELL = BASE_CELLS.index("hand"), BASE_CELLS.index("generation")
"""Two whose names in the table are older than our words for them."""


def round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
