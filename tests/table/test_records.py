"""Records: what workers find out about a configured thing, written whole or not at all, and read by name."""

import mmap
from dataclasses import replace
from pathlib import Path
from typing import Any

from popular.proxy.program import PROGRAM
from supervisor.master.accounting import table_layout
from supervisor.table.contents import Column, RecordShape
from supervisor.table.header import read_header
from supervisor.table.layout import Layout
from supervisor.table.names import write_name
from supervisor.table.records import Records
from supervisor.table.segment import View
from tests.table.sample import layout

SHAPE = RecordShape(
    "opening", "shop", (Column("since", "d", "since when"), Column("boss", "8s", "who"), Column("no", "Q", "#"))
)


def _layout() -> Layout:
    return replace(layout(), records=(SHAPE,), log_room=4096)


def _facts(number: int) -> dict[str, Any]:
    return {"since": 1.5, "boss": "ann", "no": number}


def test_written_and_read_by_name() -> None:
    """Nothing was ever written: None. Then the newest counts, of each index its own; text is cut to its width."""
    records = Records(_layout(), memoryview(mmap.mmap(-1, _layout().size)), "opening")
    assert records.read(0) is None
    for number in range(5):
        records.write(0, _facts(number))
        assert records.read(0) == _facts(number)
    records.write(2, _facts(7) | {"boss": "somebody else"})
    assert records.read(0) == _facts(4)
    assert records.read(1) is None
    assert records.read(2) == _facts(7) | {"boss": "somebody"}


def test_half_a_record_is_not_seen() -> None:
    """A writer dies wherever it may: what was there before is read."""
    memory = memoryview(mmap.mmap(-1, _layout().size))
    records = Records(_layout(), memory, "opening")
    records.write(1, _facts(1))
    before = bytes(memory)
    records.write(1, _facts(2))
    after = bytes(memory)
    changed = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    for at in changed:
        memory[:] = before
        memory[changed[0] : at] = after[changed[0] : at]
        assert records.read(1) == _facts(1)


def test_a_reader_learns_the_shape_from_the_header(tmp_path: Path) -> None:
    """A copied file tells what its records are called and who they are of; who does not know them finds the rows where
    they were.
    """
    shape = _layout()
    memory = memoryview(mmap.mmap(-1, shape.size))
    header = shape.header(0.0, 1)
    memory[: len(header)] = header
    Records(shape, memory, "opening").write(1, _facts(3))
    path = tmp_path / "state"
    path.write_bytes(memory)
    assert View.open(path).records("opening") == {}, "nobody has the index"
    write_name(shape, memory, "shop", index=1, ident="baker")
    path.write_bytes(memory)
    assert View.open(path).records("opening") == {"baker": _facts(3)}
    assert View.open(path).records("closing") == {}
    assert View.open(path).gathered() == 0
    assert read_header(path.read_bytes()).layout == shape
    assert (shape.rows_offset - shape.header_size) == (layout().rows_offset - layout().header_size)


def test_a_table_for_ten_thousand_sessions_stays_small() -> None:
    """With the records and the log rooms of `pproxy`."""
    assert table_layout(PROGRAM, 65, {"sessionlimit": 10_000, **PROGRAM.ceilings}).size < 32 << 20
