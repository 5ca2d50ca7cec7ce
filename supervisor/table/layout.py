"""Where everything stands in the segment: header · names · blocks · rows · records · log rooms · memory · affected.

The header is written once and describes the rest as JSON (column names and forms, cell and counter names, phrases),
so that a reader needs no knowledge of the program. Everything is described by name, so that a later release can add a
cell or say more of a row: a reader passes over what it does not know. All numbers are little-endian; blocks hold
aligned 8-byte cells; a row holds one cell that begins with a checksum and a serial number (rows.py), a name and a
record hold two such.

    header   magic "POPULAR\\0" + 8 octets of the program, version, sizes, length of the description, description
    names    which configured thing each index of a sort belongs to (indexes.py)
    block    one process's counters (block 0 is the master's); it outlives the process, so that a counter never falls;
             the last one holds the baselines of indexes that had another owner before
    row      one session; after the last row stand the drafts, one for each block: the row that its owner writes last
    record   what workers found out about one configured thing (records.py): for each index of a sort, by name
    log room lines of the log that one process has gathered (supervisor/runtime/logroom.py); one for each block
    memory   what all workers remember together (remembered.py), of programs that do so
    affected how many different ones the failures of one thing are about (affected.py)

Records, log rooms, memory and affected stand after the rows, where a reader of before they were there does not look.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from supervisor.table.contents import (
    BASE_CELLS,
    HEALTH_CELLS,
    Column,
    Counter,
    Health,
    Histogram,
    IndexRange,
    Rate,
    RecordShape,
    ThingLook,
    round_up,
)

MAGIC = b"POPULAR\0"
VERSION = 5
"""Version 1 was POPular 1.5's, of C structs; version 2 had no names and no histograms; version 3 described what it
holds by position, and its blocks began with fewer cells; version 4 had two cells in a row, and no drafts.
"""

HEADER = struct.Struct("<8s8sIIIIIIIIIdQ")
_PAGE = 4096
_LINE = 64
"""A cache line: no two writers share one."""


LONGEST_NAME = 64
"""Octets of the id of a configured thing."""

NAME_STRUCT = struct.Struct(f"<QQ{LONGEST_NAME}s")
"""One of the two cells of a name: checksum, serial number, id."""

FREE = 0
"""The state of a row without a session."""


@dataclass(frozen=True)
class Layout:
    """The whole geometry, from the tables of a program and two numbers."""

    program: bytes
    columns: tuple[Column, ...]
    counters: tuple[Counter, ...]
    gauges: tuple[str, ...]
    """Numbers of the master (block 0) that rise and fall."""
    states: tuple[str, ...]
    endings: tuple[str, ...]
    block_count: int
    row_count: int
    histograms: tuple[Histogram, ...] = ()
    indexes: tuple[IndexRange, ...] = ()
    process_cells: tuple[str, ...] = BASE_CELLS
    """What a block begins with."""
    healths: tuple[Health, ...] = ()
    rates: tuple[Rate, ...] = ()
    records: tuple[RecordShape, ...] = ()
    log_room: int = 0
    """Octets of each log room."""
    memory: int = 0
    """Octets of what workers remember together."""
    affected: int = 0
    """Octets of the estimate of how many are affected, for each index of a sort whose health is kept; 0: there is
    none.
    """
    tones: Mapping[str, str] = field(default_factory=dict, hash=False)
    """States that stand out: "good", or "busy" (somebody waits for us)."""
    looks: tuple[ThingLook, ...] = ()
    row_cells: int = 1
    """Cells of a row: two in tables of version 4 and before, which have no drafts."""
    kick: tuple[str, ...] = ()
    """The command that ends the sessions of who has one: its words, in which =COLUMN stands for that of his session."""
    event_counters: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)
    """The counter that counts the events of a histogram, by histogram: for who counts, so no reader is told."""

    @cached_property
    def cell_struct(self) -> struct.Struct:
        """Serial number, then the columns. The checksum stands before them; see rows.py."""
        return struct.Struct("<Q" + "".join(column.form for column in self.columns))

    @cached_property
    def cell_size(self) -> int:
        return round_up(8 + self.cell_struct.size, 8)

    @cached_property
    def row_size(self) -> int:
        return round_up(self.row_cells * self.cell_size, _LINE)

    @cached_property
    def index_counts(self) -> dict[str, int]:
        """How many places each sort has; what is not kept by a sort has one."""
        return {"": 1} | {one.sort: one.size for one in self.indexes}

    @cached_property
    def counted(self) -> tuple[Counter | Histogram, ...]:
        """Whatever a block counts."""
        return (*self.counters, *self.histograms)

    @cached_property
    def counter_cells(self) -> dict[str, int]:
        """Cell index within a block of the first number of each counter and histogram.

        The numbers of index n begin n × width after it.
        """
        cells, position = {}, len(self.process_cells)
        for row in self.counted:
            cells[row.name] = position
            position += self.index_counts[row.by] * row.width
        return cells

    @cached_property
    def counter_slices(self) -> dict[str, slice]:
        """All cells of each counter and histogram within a block, those of all indexes."""
        return {
            row.name: slice(first, first + self.index_counts[row.by] * row.width)
            for row in self.counted
            for first in (self.counter_cells[row.name],)
        }

    @cached_property
    def _counter_end(self) -> int:
        """Cells of a block up to the last counter."""
        return max((cells.stop for cells in self.counter_slices.values()), default=len(self.process_cells))

    @cached_property
    def gauge_cells(self) -> dict[str, int]:
        """Cell index within block 0 of each gauge.

        They stand after the counters, so that block 0 may count as well.
        """
        return {name: self._counter_end + position for position, name in enumerate(self.gauges)}

    @cached_property
    def health_cells(self) -> dict[str, int]:
        """Cell index within block 0 of the first health cell of each sort; place n begins n × width after it."""
        cells, position = {}, self._counter_end + len(self.gauges)
        for health in self.healths:
            cells[health.by] = position
            position += self.index_counts[health.by] * len(HEALTH_CELLS)
        return cells

    @cached_property
    def block_size(self) -> int:
        health = sum(self.index_counts[health.by] for health in self.healths) * len(HEALTH_CELLS)
        return round_up(8 * (self._counter_end + len(self.gauges) + health), _LINE)

    @cached_property
    def description(self) -> bytes:
        return json.dumps(
            {
                "columns": [column._asdict() for column in self.columns],
                "process_cells": self.process_cells,
                "counters": [row._asdict() | {"cell": self.counter_cells[row.name]} for row in self.counters],
                "histograms": [row._asdict() | {"cell": self.counter_cells[row.name]} for row in self.histograms],
                "places": [row._asdict() for row in self.indexes],
                "gauges": self.gauge_cells,
                "healths": [row._asdict() | {"cell": self.health_cells[row.by]} for row in self.healths],
                "health_cells": HEALTH_CELLS,
                "rates": [row._asdict() for row in self.rates],
                "records": [
                    row._asdict() | {"columns": [column._asdict() for column in row.columns]} for row in self.records
                ],
                "log_room": self.log_room,
                "memory": self.memory,
                "affected": self.affected,
                "tones": dict(self.tones),
                "looks": [row._asdict() for row in self.looks],
                "kick": self.kick,
                "states": self.states,
                "endings": self.endings,
            },
            separators=(",", ":"),
        ).encode()

    @cached_property
    def header_size(self) -> int:
        return round_up(HEADER.size + len(self.description), _PAGE)

    @cached_property
    def name_offsets(self) -> dict[str, int]:
        """Where the names of each sort begin."""
        offsets, position = {}, self.header_size
        for one in self.indexes:
            offsets[one.sort] = position
            position += 2 * NAME_STRUCT.size * one.size
        return offsets

    @cached_property
    def names_size(self) -> int:
        return round_up(2 * NAME_STRUCT.size * sum(one.size for one in self.indexes), _PAGE)

    def block_offset(self, block: int) -> int:
        return self.header_size + self.names_size + block * self.block_size

    @property
    def baseline(self) -> int:
        """The number of the block that holds what is to be taken off the sums."""
        return self.block_count

    @cached_property
    def rows_offset(self) -> int:
        return round_up(self.block_offset(self.block_count + 1), _PAGE)

    def row_offset(self, row: int) -> int:
        return self.rows_offset + row * self.row_size

    @property
    def draft_count(self) -> int:
        """One for each block, the baseline excepted, which nobody owns."""
        return self.block_count if self.row_cells == 1 else 0

    def draft_offset(self, block: int) -> int:
        """Where the owner of a block drafts the rows that it writes."""
        return self.row_offset(self.row_count + block)

    @property
    def _records_offset(self) -> int:
        return round_up(self.draft_offset(self.draft_count), _PAGE)

    @cached_property
    def record_offsets(self) -> dict[str, int]:
        """Where the records of each name begin; that of index n begins n × 2 × cell_size after it."""
        offsets, position = {}, self._records_offset
        for row in self.records:
            offsets[row.name] = position
            position += 2 * row.cell_size * self.index_counts[row.by]
        return offsets

    @cached_property
    def log_rooms_offset(self) -> int:
        octets = sum(2 * row.cell_size * self.index_counts[row.by] for row in self.records)
        return round_up(self._records_offset + octets, _PAGE)

    def log_room_slice(self, block: int) -> slice:
        """The log room of who owns this block."""
        start = self.log_rooms_offset + block * self.log_room
        return slice(start, start + self.log_room)

    @cached_property
    def memory_slice(self) -> slice:
        """What all workers remember together."""
        start = round_up(self.log_rooms_offset + self.block_count * self.log_room, _PAGE)
        return slice(start, start + self.memory)

    @cached_property
    def affected_offsets(self) -> dict[str, int]:
        """Where the estimates of each sort begin; that of index n begins n × `affected` after it."""
        offsets, position = {}, self.memory_slice.stop
        for health in self.healths if self.affected else ():
            offsets[health.by] = position
            position += self.affected * self.index_counts[health.by]
        return offsets

    @cached_property
    def size(self) -> int:
        affected = sum(self.affected * self.index_counts[health.by] for health in self.healths)
        return round_up(self.memory_slice.stop + affected, _PAGE)

    def header(self, boot_time: float, pid: int) -> bytes:
        description = self.description
        fixed = HEADER.pack(
            MAGIC,
            self.program,
            VERSION,
            self.header_size,
            self.names_size,
            self.block_size,
            self.block_count,
            self.row_size,
            self.row_count,
            self.cell_size,
            len(description),
            boot_time,
            pid,
        )
        return fixed + description
