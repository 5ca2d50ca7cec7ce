"""The segment: made anew, written by its owners, read by strangers from living memory or from a copy."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.table.contents import BASE_CELLS
from supervisor.table.header import WrongFormat
from supervisor.table.segment import NoRoom, Segment, View, path_of, remove
from tests.table import sample

GENERATION = BASE_CELLS.index("generation")
NAME = f"/popular-test-segment-{os.getpid()}"


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A table in shared memory."""
    yield Segment.create(NAME, sample.layout())
    remove(NAME)


def test_only_its_user_may_read_it(segment: Segment) -> None:
    """User names stand in the table: mode 0600; and its memory is reserved, not promised."""
    status = path_of(segment.name).stat()

    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_blocks * 512 >= status.st_size == segment.layout.size


def test_one_that_was_left_is_replaced(segment: Segment) -> None:
    """A segment of a dead instance does not hinder its successor, and none of its rows lives on."""
    segment.rows.write(0, state=1, pid=1, started=0.0, since=0.0, sid=b"old", octets=0, port=0)

    fresh = Segment.create(NAME, sample.layout(rows=9))

    assert fresh.reader.rows() == []
    assert View.open(path_of(NAME)).layout.row_count == 9
    assert len(segment.reader.rows()) == 1, "who has the old one mapped keeps it"


def test_a_reader_sees_what_the_writers_wrote(segment: Segment) -> None:
    """Sessions with the phrase of their state, counters summed over all blocks, gauges, and who counts."""
    segment.rows.write(2, state=1, pid=77, started=1.0, since=2.0, sid=b"a.1.77", octets=5, port=1024)
    segment.rows.write(3, state=200, pid=77, started=1.0, since=2.0, sid=b"a.2.77", octets=6, port=1025)
    cells = segment.counter_cells
    for block, amount in ((0, 1), (1, 10), (2, 100)):
        segment.block(block)[cells["begun"]] += amount
        segment.block(block)[cells["ended"] + 1] += 2 * amount
    segment.set_gauge("load", 250)
    for cell, value in enumerate((77, 0, 3, 9, 4, 5, 6, 7, 8, 1, 2, 11)):
        segment.block(1)[cell] = value
    segment.block(2)[GENERATION] = 2

    view = View.open(path_of(NAME))

    assert [(row["row"], row["sid"], row["state"]) for row in view.sessions()] == [
        (2, "a.1.77", "waiting"),
        (3, "a.2.77", "state 200"),
    ]
    assert view.counters() == {
        "begun": 111,
        "ended": {"quit": 0, "worker_died": 222},
        "calls": 0,
        "faults": {"late": 0, "wrong": 0},
    }
    assert view.gauges() == {"limit": 0, "load": 250}
    assert view.workers() == [dict(zip(BASE_CELLS, (77, 0, 3, 9, 4, 5, 6, 7, 8, 1, 2, 11), strict=True))]
    assert view.header.pid == os.getpid()


def test_the_hand_is_where_the_reader_looks(segment: Segment) -> None:
    """Four octets read into the hand show as the number in the block's cell."""
    segment.token_cell(2)[:] = (7).to_bytes(4, "little")

    assert segment.block(2)[BASE_CELLS.index("hand")] == 7


def test_a_copy_is_read_like_the_living(segment: Segment, tmp_path: Path) -> None:
    """The manual's way to freeze the state: copy the file, read the copy."""
    segment.rows.write(1, state=2, pid=5, started=1.0, since=2.0, sid=b"frozen", octets=0, port=0)
    copy = tmp_path / "copy.state"
    shutil.copy(path_of(NAME), copy)
    segment.free_row(1, 5)

    assert [row["sid"] for row in View.open(copy).sessions()] == ["frozen"]
    assert View.open(path_of(NAME)).sessions() == []


@pytest.mark.parametrize(("size", "text"), [(0, "too short"), (40, "too short"), (5000, "cut short")])
def test_a_cut_copy_is_refused(segment: Segment, tmp_path: Path, size: int, text: str) -> None:
    """A file that ends early says so."""
    copy = tmp_path / "cut.state"
    copy.write_bytes(path_of(segment.name).read_bytes()[:size])

    with pytest.raises(WrongFormat, match=text):
        View.open(copy)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A directory, a device, and nothing at all are errors of the operating system's kind."""
    for path in (tmp_path, Path("/dev/null"), tmp_path / "missing"):
        with pytest.raises(OSError):
            View.open(path)


def test_too_large_a_table_is_refused_at_once() -> None:
    """A table that does not fit in shared memory is an error at the start, not a crash later, and leaves nothing."""
    space = os.statvfs("/dev/shm")
    total = space.f_blocks * space.f_frsize
    rows = 2 * total // sample.layout().row_size

    with pytest.raises(NoRoom, match=r"no room for [0-9]+ MiB of shared memory"):
        Segment.create(NAME, sample.layout(rows=rows))
    assert not path_of(NAME).exists()
