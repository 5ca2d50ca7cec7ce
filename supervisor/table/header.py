"""What a reader makes of a table's header: the layout, from nothing but the first octets of the segment.

The readers of each version stand here; what the header says, in layout.py. All that is read may be nonsense or cut
short.
"""

import functools
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from supervisor.table.contents import (
    CELLS_OF_VERSION_3,
    HEALTH_CELLS,
    Column,
    Counter,
    Health,
    Histogram,
    IndexRange,
    Rate,
    RecordShape,
    ThingLook,
)
from supervisor.table.distinct import REGISTERS
from supervisor.table.layout import HEADER, MAGIC, Layout

READABLE = (3, 4, 5)
"""A new reader looks at an old instance that finishes its sessions."""


class WrongFormat(ValueError):
    """The file is not a session table, or one of another version."""


class TableHeader(NamedTuple):
    """What a reader learns from the first bytes."""

    layout: Layout
    boot_time: float
    pid: int


def read_header(data: Any) -> TableHeader:
    """Rebuilds the layout from a segment (anything that slices to bytes). Raises WrongFormat."""
    if len(data) < HEADER.size:
        raise WrongFormat("too short for a state file")
    magic, program, version, *sizes, boot_time, pid = HEADER.unpack(bytes(data[: HEADER.size]))
    if magic != MAGIC:
        raise WrongFormat("not a POPular state file")
    if version not in READABLE:
        known = f"{', '.join(map(str, READABLE[:-1]))} and {READABLE[-1]}"
        raise WrongFormat(f"state file of version {version}; this program reads version {known}")
    header_size, names_size, block_size, block_count, row_size, row_count, cell_size, length = sizes
    described = bytes(data[HEADER.size : HEADER.size + length])
    try:
        layout = _READERS[version](program, described, blocks=block_count, rows=row_count)
        computed = (layout.header_size, layout.names_size, layout.block_size, layout.row_size, layout.cell_size)
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, RecursionError):
        raise WrongFormat("the state file's description makes no sense") from None
    if computed != (header_size, names_size, block_size, row_size, cell_size):
        raise WrongFormat("the state file's sizes do not agree with its description")
    if len(data) < layout.size:
        raise WrongFormat("the state file is cut short")
    return TableHeader(layout, boot_time, pid)


def _described(program: bytes, text: bytes, *, blocks: int, rows: int, row_cells: int = 1) -> Layout:
    """The layout of version 5. Keys that are not known are passed over. Raises what a senseless description raises."""
    described = json.loads(text)
    layout = Layout(
        program=program,
        columns=_named(Column, described["columns"]),
        counters=_named(Counter, described["counters"]),
        gauges=tuple(described["gauges"]),
        states=tuple(described["states"]),
        endings=tuple(described["endings"]),
        block_count=blocks,
        row_count=rows,
        histograms=_named(Histogram, described["histograms"]),
        indexes=_named(IndexRange, described["places"]),
        process_cells=tuple(described["process_cells"]),
        healths=_named(Health, described.get("healths", ())),
        rates=_named(Rate, described.get("rates", ())),
        records=tuple(
            RecordShape(row["name"], row["by"], _named(Column, row["columns"])) for row in described.get("records", ())
        ),
        log_room=int(described.get("log_room", 0)),
        memory=int(described.get("memory", 0)),
        affected=REGISTERS if described.get("affected", 0) == REGISTERS else 0,
        tones={str(state): str(tone) for state, tone in described.get("tones", {}).items()},
        looks=_named(ThingLook, described.get("looks", ())),
        kick=tuple(map(str, described.get("kick", ()))),
        row_cells=row_cells,
    )
    cells = {row["name"]: row["cell"] for row in (*described["counters"], *described["histograms"])}
    health_cells = {row["by"]: row["cell"] for row in described.get("healths", ())}
    if tuple(described.get("health_cells", HEALTH_CELLS)) != HEALTH_CELLS or health_cells != layout.health_cells:
        raise ValueError("health cells that are elsewhere")
    if (cells, described["gauges"]) != (layout.counter_cells, layout.gauge_cells):
        raise ValueError("cells that are elsewhere")
    return layout


def _described_by_position(program: bytes, text: bytes, *, blocks: int, rows: int) -> Layout:
    """The layout of version 3."""
    described = json.loads(text)
    return Layout(
        program=program,
        columns=_positioned(Column, described["columns"]),
        counters=_positioned(Counter, described["counters"]),
        gauges=tuple(described["gauges"]),
        states=tuple(described["states"]),
        endings=tuple(described["endings"]),
        block_count=blocks,
        row_count=rows,
        histograms=_positioned(Histogram, described["histograms"]),
        indexes=_positioned(IndexRange, described["places"]),
        process_cells=CELLS_OF_VERSION_3,
        row_cells=2,
    )


_READERS: Mapping[int, Callable[..., Layout]] = {
    3: _described_by_position,
    4: functools.partial(_described, row_cells=2),
    5: _described,
}


def _named(kind: Any, values: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    return tuple(kind(**{name: _frozen(value[name]) for name in kind._fields if name in value}) for value in values)


def _positioned(kind: Any, values: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(kind(*map(_frozen, value)) for value in values)


def _frozen(field: Any) -> Any:
    return tuple(map(_frozen, field)) if isinstance(field, list) else field
