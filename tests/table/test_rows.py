"""Rows: a cell and a draft, one writer, readers that never see half of anything."""

import os
import random
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.table.layout import FREE
from supervisor.table.rows import Row, RowReader
from supervisor.table.segment import Segment, remove
from tests.patience import patient
from tests.table import sample

PID = 4711
KILLS = 120
READS = 20_000


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A table of four rows, in shared memory."""
    name = f"/popular-test-rows-{os.getpid()}"
    yield Segment.create(name, sample.layout())
    remove(name)


def test_a_row_that_was_never_written_is_free(segment: Segment) -> None:
    """A fresh table has no session and no owner."""
    assert segment.reader.read(0) is None
    assert segment.reader.owner(0) == 0
    assert segment.reader.rows() == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 3),
    st.integers(1, 255),
    st.integers(0, (1 << 32) - 1),
    st.floats(0, 2e9),
    st.binary(max_size=40),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 65535),
)
def test_a_row_is_read_as_it_was_written(
    segment: Segment, row: int, state: int, pid: int, since: float, sid: bytes, octets: int, port: int
) -> None:
    """Every column comes back; text is cut to its width and is text whatever its octets were."""
    segment.rows.write(row, state=state, pid=pid, started=1.0, since=since, sid=sid, octets=octets, port=port)

    read = segment.reader.read(row)

    assert read is not None
    text = sid[:16].rstrip(b"\0").decode("utf-8", "replace")
    expected = {"state": state, "pid": pid, "started": 1.0, "since": since, "sid": text, "octets": octets, "port": port}
    assert read == Row(row, expected)
    assert segment.reader.owner(row) == pid


@pytest.mark.parametrize("sid", ["", "p.1.1", "müller", "ein langer Name: Jürg", "𝄞" * 5])
def test_text_may_be_a_string(segment: Segment, sid: str) -> None:
    """Then its UTF-8 is written, cut to the width of the column, whatever was in the row before."""
    segment.rows.write(0, state=1, pid=PID, started=0.0, since=0.0, sid=b"#" * 16, octets=1, port=1)
    segment.rows.write(0, state=1, pid=PID, started=0.0, since=0.0, sid=b"#" * 16, octets=1, port=1)

    segment.rows.write(0, state=1, pid=PID, started=0.0, since=0.0, sid=sid, octets=1, port=1)

    read = segment.reader.read(0)
    assert read is not None
    assert read.columns["sid"] == sid.encode()[:16].decode(errors="replace")
    assert (read.columns["octets"], read.columns["port"]) == (1, 1)


@pytest.mark.parametrize("wrong", [{"port": 65536}, {"port": -1}, {"sid": 7}, {"sid": "\ud800"}, {"since": "x"}])
def test_what_fits_in_no_column_changes_nothing(segment: Segment, wrong: dict[str, object]) -> None:
    """The row stays as it was, and can be written again."""
    columns: dict[str, object] = {"pid": PID, "started": 0.0, "since": 0.0, "sid": "s", "octets": 1, "port": 7}
    segment.rows.write(0, state=1, **columns)
    before = bytes(segment.map)

    with pytest.raises((OverflowError, TypeError, UnicodeEncodeError, struct.error)):
        segment.rows.write(0, state=2, **columns | wrong)

    assert bytes(segment.map) == before
    segment.rows.write(0, state=3, **columns)
    read = segment.reader.read(0)
    assert read is not None
    assert read.columns["state"] == 3


def test_the_last_writing_counts(segment: Segment) -> None:
    """Ten writings of one row: the reader always has the newest; its neighbours are not touched."""
    for count in range(10):
        segment.rows.write(1, state=1, pid=PID, started=0.0, since=0.0, sid=b"s", octets=count, port=0)
        read = segment.reader.read(1)
        assert read is not None
        assert read.columns["octets"] == count
    assert [row.number for row in segment.reader.rows()] == [1]


def test_a_freed_row_still_tells_who_freed_it(segment: Segment) -> None:
    """A free row is no session, but the audit of the tokens must know its last writer."""
    segment.rows.write(2, state=1, pid=PID, started=0.0, since=0.0, sid=b"s", octets=1, port=1)
    segment.rows.write(2, state=FREE, pid=PID, started=0.0, since=0.0, sid=b"", octets=0, port=0)

    assert segment.reader.read(2) is None
    assert segment.reader.owner(2) == PID


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_torn_row_is_read_from_its_draft(segment: Segment, data: st.DataObject) -> None:
    """A writer that is killed in the middle: whatever part of the new row had arrived, it is read as it was to be."""
    layout = segment.layout
    segment.rows.write(0, state=1, pid=PID, started=0.0, since=0.0, sid=b"old", octets=1, port=1)
    before = bytes(segment.map[layout.row_offset(0) : layout.row_offset(1)])
    segment.rows.write(0, state=2, pid=PID, started=0.0, since=0.0, sid=b"new", octets=1 << 60, port=65535)
    after = bytes(segment.map[layout.row_offset(0) : layout.row_offset(1)])
    arrived = data.draw(st.integers(0, layout.row_size))
    torn = after[:arrived] + before[arrived:]

    segment.map[layout.row_offset(0) : layout.row_offset(1)] = torn

    read = segment.reader.read(0)
    assert read is not None
    assert read.columns["sid"] == ("old" if torn == before else "new")


def test_a_torn_draft_leaves_the_row_as_it_was(segment: Segment) -> None:
    """A writer that is killed while it drafts has not come to its row."""
    layout = segment.layout
    segment.rows.write(0, state=1, pid=PID, started=0.0, since=0.0, sid=b"old", octets=1, port=1)
    draft = layout.draft_offset(0)
    segment.map[draft + 8 : draft + 40] = b"#" * 32

    read = segment.reader.read(0)

    assert read is not None
    assert read.columns["sid"] == "old"


def test_any_damage_to_a_row_is_noticed(segment: Segment) -> None:
    """Each single octet that is told of, changed in turn: the row is not shown when nobody has a draft of it."""
    start = segment.layout.row_offset(3)
    segment.rows.write(3, state=1, pid=PID, started=0.0, since=0.0, sid=b"sid", octets=1, port=1)
    segment.rows.write(2, state=1, pid=PID, started=0.0, since=0.0, sid=b"other", octets=1, port=1)
    for place in (*range(4), *range(8, 8 + segment.layout.cell_struct.size)):
        segment.map[start + place] ^= 0x55
        assert segment.reader.read(3) is None, f"octet {place}"
        segment.map[start + place] ^= 0x55
    assert segment.reader.read(3) is not None


def test_the_newest_of_several_drafts_counts(segment: Segment) -> None:
    """A row that went from writer to writer: what one had drafted who is dead is not taken for the last one's."""
    for block, sid in ((2, b"first"), (1, b"second")):
        writer = segment.row_writer(block)
        writer.write(0, state=1, pid=PID + block, started=0.0, since=0.0, sid=sid, octets=1, port=1)
    segment.map[segment.layout.row_offset(0) + 8] ^= 1  # torn

    read = segment.reader.read(0)

    assert read is not None
    assert (read.columns["sid"], segment.reader.owner(0)) == ("second", PID + 1)


def test_an_old_draft_says_nothing_of_a_row_that_goes_on(segment: Segment) -> None:
    """A reader may find a row half written, and its writer far ahead when it looks at the drafts: it looks again."""
    for block, sid in ((1, b"old"), (2, b"new")):
        writer = segment.row_writer(block)
        writer.write(0, state=1, pid=PID, started=0.0, since=0.0, sid=sid, octets=1, port=1)
    writer.write(1, state=1, pid=PID, started=0.0, since=0.0, sid=b"next", octets=1, port=1)
    reader, torn = RowReader(segment.layout, segment.map), segment.layout.row_offset(0) + 8
    segment.map[torn] ^= 1

    class WritesMeanwhile(RowReader):
        """Between the two looks of the reader the writer finishes the row."""

        def _drafted(self, row: int) -> Sequence[Any] | None:
            drafted = super()._drafted(row)
            segment.map[torn] ^= 1
            return drafted

    assert reader.owner(0) == PID
    read = WritesMeanwhile(segment.layout, segment.map).read(0)

    assert read is not None
    assert read.columns["sid"] == "new"


def test_freeing_a_dead_writers_row_mends_it(segment: Segment) -> None:
    """The row that a dead writer has left torn is whole, and free, when the master has freed it."""
    segment.row_writer(1).write(0, state=2, pid=PID, started=0.0, since=0.0, sid=b"new", octets=2, port=2)
    segment.map[segment.layout.row_offset(0) + 8] ^= 1  # torn

    segment.free_row(0, PID + 1)

    assert (segment.reader.read(0), segment.reader.owner(0)) == (None, PID + 1)
    segment.map[segment.layout.draft_offset(0) + 8] ^= 1
    segment.map[segment.layout.draft_offset(1) + 8] ^= 1
    assert segment.reader.owner(0) == PID + 1, "by the row itself"


# Real processes


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def _hammer(segment: Segment, first: int, step: int) -> Callable[[], None]:
    """Writes rows without end, every column from one number, so that a mixture can be told."""

    def work() -> None:
        signal.alarm(60)
        number = first
        while True:
            number += step
            segment.rows.write(
                0,
                state=1 + number % 2,
                pid=number,
                started=float(number),
                since=float(number),
                sid=b"%016d" % number,
                octets=number,
                port=7,
            )

    return work


def _assert_whole(row: Row | None) -> int:
    assert row is not None, "a row that is written all the time is never free"
    number = int(row.columns["pid"])
    expected = {
        "state": 1 + number % 2,
        "pid": number,
        "started": float(number),
        "since": float(number),
        "sid": f"{number:016}",
        "octets": number,
        "port": 7,
    }
    assert row.columns == expected
    return number


@pytest.mark.processes
def test_a_reader_beside_a_hammering_writer_sees_whole_rows(segment: Segment) -> None:
    """Twenty thousand reads of a row that another process writes without a pause: each is whole, and never older."""
    child = _forked(_hammer(segment, 0, 1))
    try:
        deadline = time.monotonic() + patient(10)
        while segment.reader.read(0) is None:
            assert time.monotonic() < deadline
        newest = 0
        for _ in range(READS):
            number = _assert_whole(segment.reader.read(0))
            assert number >= newest
            newest = number
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert newest > 1000, "the writer wrote beside us"


@pytest.mark.processes
def test_writers_killed_at_random_leave_a_whole_row(segment: Segment) -> None:
    """120 writers are killed at random moments: the row is whole after each, and the next writer takes over from it."""
    dice = random.Random(20011204)
    segment.rows.write(0, state=1, pid=0, started=0.0, since=0.0, sid=b"%016d" % 0, octets=0, port=7)
    seen = set()
    for kill in range(KILLS):
        child = _forked(_hammer(segment, 1_000_000 * kill, 1))
        time.sleep(dice.uniform(0.0, 0.006))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        number = _assert_whole(segment.reader.read(0))
        seen.add(number // 1_000_000)
        segment.free_row(0, 2 * number)
        segment.rows.write(
            0,
            state=1 + number % 2,
            pid=number,
            started=float(number),
            since=float(number),
            sid=b"%016d" % number,
            octets=number,
            port=7,
        )
    assert len(seen) > KILLS // 2, "most writers came to write before they were killed"
