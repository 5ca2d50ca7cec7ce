"""A new reader looks at the state file of an old program, and at one that says more than it knows."""

import gzip
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from supervisor.table.header import read_header
from supervisor.table.layout import HEADER, VERSION
from supervisor.table.segment import View
from tests.patience import patient
from tests.system.site import program
from tests.table import sample

STORED = Path(__file__).parent / "stored"
"""Written by version 2.0.0.dev0 with state files of version 3: two workers, three sessions, one that has ended."""


def stored(name: str) -> bytes:
    """A state file of version 3."""
    return gzip.decompress((STORED / f"{name}.v3.state.gz").read_bytes())


@pytest.mark.parametrize("name", ["pproxy", "pserv"])
def test_version_3_is_read_as_its_own_program_read_it(name: str) -> None:
    """Counters, gauges, workers, sessions and what is kept by id: each number as the old reader found it."""
    told: dict[str, Any] = json.loads((STORED / f"{name}.v3.json").read_text())
    view = View(stored(name))

    assert view.counters() == told["counters"]
    assert view.gauges() == told["gauges"]
    assert view.workers() == told["workers"]
    assert view.sessions() == told["sessions"]
    assert {
        key: [[one.ident, list(one.numbers)] for one in readings] for key, readings in view.readings().items()
    } == told["readings"]


@pytest.mark.processes
@pytest.mark.parametrize("name", ["pproxy", "pserv"])
def test_pstatus_shows_an_old_instance(name: str, tmp_path: Path) -> None:
    """The text, the JSON, and what it says of the sessions, while the old instance drains."""
    file = tmp_path / f"{name}.state"
    file.write_bytes(stored(name))
    for options in ((), ("--json",), ("--sort", "started")):
        said = subprocess.run(
            [program("pstatus"), "--file", str(file), *options],
            capture_output=True,
            text=True,
            timeout=patient(30),
            env=os.environ | {"COLUMNS": "120"},
        )
        assert (said.returncode, said.stderr) == (0, ""), options
        assert "waiting for a " in said.stdout


def test_what_a_reader_does_not_know_it_passes_over() -> None:
    """A later release may describe more: further keys, and further facts of a row. The numbers are found by name."""
    layout = sample.layout()
    described = json.loads(layout.description)
    described["novelty"] = {"cells": 12}
    for row in (*described["counters"], *described["histograms"], *described["columns"], *described["places"]):
        row["colour"] = "blue"
    text = json.dumps(described).encode()
    head = bytearray(layout.header(1.0, 2)[: HEADER.size])
    fields = list(HEADER.unpack(head))
    fields[10] = len(text)
    data = (HEADER.pack(*fields) + text).ljust(layout.size, b"\0")

    assert read_header(data).layout == layout


def test_a_later_program_may_show_more_of_its_processes() -> None:
    """Cells that this release does not have stand where the description says; all others are found after them."""
    later = sample.layout()
    later = replace(later, process_cells=(*later.process_cells, "colour"))
    header = read_header(later.header(1.0, 2).ljust(later.size, b"\0"))

    assert header.layout.process_cells[-1] == "colour"
    assert header.layout.counter_cells == later.counter_cells
    assert header.layout.counter_cells != sample.layout().counter_cells
    assert VERSION == 5


def test_version_4_is_read_with_two_cells_in_a_row() -> None:
    """The newest cell that checks counts, for who lists and for who tallies; what follows the rows is found."""
    layout = replace(sample.layout(), row_cells=2)
    fields = list(HEADER.unpack(layout.header(1.0, 2)[: HEADER.size]))
    fields[2] = 4
    data = bytearray((HEADER.pack(*fields) + layout.description).ljust(layout.size, b"\0"))
    for row, cell, serial, sid in ((1, 0, 7, b"new"), (1, 1, 6, b"old"), (2, 0, 8, b"one"), (2, 1, 9, b"two")):
        checked = layout.cell_struct.pack(serial, 1, 4711, 1.0, 1.0, sid, 5, 6)
        start = layout.row_offset(row) + cell * layout.cell_size
        data[start : start + 8 + len(checked)] = crc32(checked).to_bytes(8, "little") + checked
    data[layout.row_offset(2) + layout.cell_size + 9] ^= 1  # torn

    view = View(data)

    assert view.layout == layout
    assert (layout.draft_count, layout.row_size // layout.cell_size) == (0, 2)
    assert [session["sid"] for session in view.sessions()] == ["new", "one"]
    assert view.tally(("sid",)) == {("new",): 1, ("one",): 1}
