"""The geometry of the table, and the header that describes it to strangers."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.table.contents import BASE_COLUMNS, Column, Counter, Health, Histogram, IndexRange
from supervisor.table.distinct import REGISTERS
from supervisor.table.header import WrongFormat, read_header
from supervisor.table.layout import MAGIC, NAME_STRUCT, Layout
from tests.table import sample

WORDS = st.text(string.ascii_lowercase + "_é", min_size=1, max_size=12)
FORMS = st.one_of(st.sampled_from("BHIQd"), st.integers(1, 200).map(lambda width: f"{width}s"))
COLUMNS = st.lists(st.builds(Column, WORDS, FORMS, WORDS), max_size=8)
SORTS = ("", "shop", "street")
COUNTERS = st.lists(
    st.builds(Counter, WORDS, WORDS, st.lists(WORDS, max_size=5).map(tuple), st.sampled_from(SORTS)),
    max_size=6,
    unique_by=lambda c: c.name,
)
HISTOGRAMS = st.lists(
    st.builds(
        Histogram,
        WORDS.map(lambda name: f"{name} seconds"),
        WORDS,
        st.lists(st.integers(1, 10**9), max_size=5, unique=True).map(sorted).map(tuple),
        st.sampled_from(SORTS),
    ),
    max_size=3,
    unique_by=lambda c: c.name,
)
LAYOUTS = st.builds(
    lambda columns, counters, histograms, shops, gauges, states, blocks, rows, cells, affected: Layout(
        b"SAMPLE\0\0",
        (*BASE_COLUMNS, *columns),
        tuple(counters),
        gauges=tuple(gauges),
        states=tuple(states),
        endings=("quit",),
        block_count=blocks,
        row_count=rows,
        histograms=tuple(histograms),
        indexes=(IndexRange("shop", shops), IndexRange("street", 1)),
        process_cells=tuple(cells),
        healths=(Health(by="shop", good="", bad=""),),
        affected=affected,
    ),
    COLUMNS,
    COUNTERS,
    HISTOGRAMS,
    st.integers(1, 5),
    st.lists(WORDS, max_size=4, unique=True),
    st.lists(WORDS, max_size=4),
    st.integers(1, 9),
    st.integers(1, 99),
    st.lists(WORDS, min_size=1, max_size=12, unique=True),
    st.sampled_from((0, REGISTERS)),
)


@settings(deadline=None)
@given(LAYOUTS, st.floats(0, 2e9), st.integers(1, 1 << 22))
def test_a_header_tells_the_whole_layout(layout: Layout, boot_time: float, pid: int) -> None:
    """What a program writes a stranger reads back: every name, every size, boot time and pid."""
    data = layout.header(boot_time, pid).ljust(layout.size, b"\0")

    assert read_header(data) == (layout, boot_time, pid)


@settings(deadline=None)
@given(LAYOUTS)
def test_nothing_overlaps_and_cells_are_aligned(layout: Layout) -> None:
    """Header, names, blocks and rows follow each other; no two writers share a cache line; numbers stand where a cast
    finds them.
    """
    assert len(layout.header(0.0, 1)) <= layout.block_offset(0)
    names = sum(layout.index_counts[sort] for sort in ("shop", "street"))
    assert layout.header_size + 2 * NAME_STRUCT.size * names <= layout.block_offset(0)
    assert layout.block_offset(layout.baseline + 1) <= layout.row_offset(0)
    assert layout.draft_offset(layout.draft_count) <= layout.size
    assert layout.row_offset(layout.row_count) <= layout.draft_offset(0)
    assert layout.draft_count == layout.block_count, "each who writes rows has a draft"
    assert layout.block_offset(1) % 64 == layout.block_size % 64 == layout.row_offset(1) % 64 == 0
    assert layout.row_size >= layout.cell_size >= 8 + layout.cell_struct.size
    assert layout.cell_size % 8 == 0
    cells = [*range(len(layout.process_cells)), *layout.gauge_cells.values()]
    for counter in layout.counted:
        first = layout.counter_cells[counter.name]
        cells += range(first, first + counter.width * layout.index_counts[counter.by])
    assert len(set(cells)) == len(cells)
    assert 8 * (max(cells) + 1) <= layout.block_size


def _file() -> bytearray:
    layout = sample.layout()
    return bytearray(layout.header(1.0, 2).ljust(layout.size, b"\0"))


@pytest.mark.parametrize(
    ("position", "octets", "text"),
    [
        (0, b"HAPPY!!\0", "not a POPular state file"),
        (16, (1).to_bytes(4, "little"), "version 1; this program reads version 3, 4 and 5"),
        (16, (2).to_bytes(4, "little"), "version 2; this program reads version 3, 4 and 5"),
        (24, (64 * 1024).to_bytes(4, "little"), "sizes do not agree"),
        (28, (64 * 1024).to_bytes(4, "little"), "sizes do not agree"),
        (36, (1 << 20).to_bytes(4, "little"), "sizes do not agree"),
        (40, (1 << 30).to_bytes(4, "little"), "cut short"),
        (48, (1 << 30).to_bytes(4, "little"), "makes no sense"),
    ],
)
def test_a_strange_header_is_refused(position: int, octets: bytes, text: str) -> None:
    """Another magic, another version and sizes that cannot be are told apart."""
    data = _file()
    data[position : position + len(octets)] = octets

    with pytest.raises(WrongFormat, match=text):
        read_header(bytes(data))


@pytest.mark.parametrize("size", [0, 1, 63, 100, 4096, -1])
def test_a_file_that_ends_early_is_refused(size: int) -> None:
    """A copy that is cut short is never read beyond its end."""
    with pytest.raises(WrongFormat):
        read_header(bytes(_file()[:size]))


def test_the_sample_file_is_right() -> None:
    """The files of these tests are refused for what was changed in them, not for something else."""
    assert read_header(bytes(_file())).pid == 2
    assert bytes(_file()[:8]) == MAGIC


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_header_is_refused_or_read(damage: list[tuple[int, int]]) -> None:
    """Whatever octets stand in the header, the reader answers with a layout or with WrongFormat."""
    data = _file()
    for position, octet in damage:
        data[position] = octet
    try:
        header = read_header(bytes(data))
    except WrongFormat:
        return
    assert header.layout.size <= len(data)
