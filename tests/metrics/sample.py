"""A small table with three sessions and two workers, really written, for the tests of those who read one."""

import time

from supervisor.table.contents import BASE_COLUMNS, Column, Counter
from supervisor.table.layout import Layout
from supervisor.table.segment import Segment

ROWS = 200
COLUMNS = (*BASE_COLUMNS, Column("sid", "32s", ""), Column("user", "16s", ""), Column("sent", "Q", ""))
LAYOUT = Layout(
    program=b"PROXY\0\0\0",
    columns=COLUMNS,
    counters=(Counter("started", ""), Counter("ended", "", ("quit", "lost")), Counter("octets", "")),
    gauges=("maxsession", "session_state", "workers", "load_hundredths"),
    states=("free", "waiting for a password", "passing mail on"),
    endings=("quit", "lost"),
    block_count=4,
    row_count=ROWS,
    tones={"passing mail on": "good"},
)
WAITING, PASSING = 1, 2


def written(name: str) -> Segment:
    """Two workers and three sessions; whoever asks for it removes the segment."""
    made = Segment.create(name, LAYOUT)
    made.set_gauge("maxsession", 150)
    made.set_gauge("session_state", 1)
    made.set_gauge("workers", 2)
    made.set_gauge("load_hundredths", 142)
    for slot in (0, 1):
        cells = made.block(slot + 1)
        cells[0], cells[1], cells[2], cells[3] = 4000 + slot, slot, slot + 1, time.monotonic_ns()
        cells[made.counter_cells["started"]] = 10
        cells[made.counter_cells["ended"] + 1] = 7
    now = time.time()
    made.rows.write(
        0, state=PASSING, pid=4000, started=now - 200, since=now - 5, sid=b"p.1.1", user=b"joe", sent=123456
    )
    made.rows.write(7, state=WAITING, pid=4001, started=now, since=now, sid=b"p.2.2", user="müller".encode(), sent=41)
    made.rows.write(150, state=WAITING, pid=4001, started=now, since=now, sid=b"p.3.3", user=b"", sent=0)
    made.rows.write(9, state=WAITING, pid=4001, started=now, since=now, sid=b"p.9.9", user=b"gone", sent=0)
    made.free_row(9, 4001)
    return made
