"""Records: what any worker may find out about a configured thing, for all workers and for who watches.

A record is written into the older of two cells, each with a checksum and a serial number: nobody sees half of
one. Several workers may write the same record: who comes last is right, and where two came at the same moment and
spoiled a cell, the other cell counts.
"""

from collections.abc import Mapping
from time import monotonic_ns
from typing import Any
from zlib import crc32

from supervisor.table.contents import RecordShape
from supervisor.table.layout import Layout


class Records:
    """The records of one name, by index. `data`: the segment, or for a reader a copy of one."""

    def __init__(self, layout: Layout, data: Any, name: str) -> None:
        self._shape: RecordShape = next(row for row in layout.records if row.name == name)
        self._data = data
        self._count = layout.index_counts[self._shape.by]
        self._first = layout.record_offsets[name]
        self._size = self._shape.cell_size
        self._struct = self._shape.cell_struct

    def read(self, index: int) -> dict[str, Any] | None:
        """The columns by name, text decoded; None if nothing was ever written there."""
        values = max((self._values(cell) for cell in self._cells(index)), key=lambda values: values[:1])
        if not values:
            return None
        return {column.name: _text(value) for column, value in zip(self._shape.columns, values[1:], strict=True)}

    def write(self, index: int, columns: Mapping[str, object]) -> None:
        """Replaces the older cell, in one assignment. Takes every column by its name; text is cut to its width."""
        assert 0 <= index < self._count, "behind the last record is another's"
        one, other = self._cells(index)
        serials = [int.from_bytes(self._data[cell + 8 : cell + 16], "little") for cell in (one, other)]
        start = other if serials[0] > serials[1] else one
        values = [columns[column.name] for column in self._shape.columns]
        octets = [value.encode() if isinstance(value, str) else value for value in values]
        fresh = self._struct.pack(max(monotonic_ns(), *(serial + 1 for serial in serials)), *octets)
        self._data[start : start + 8 + len(fresh)] = crc32(fresh).to_bytes(8, "little") + fresh

    def _cells(self, index: int) -> tuple[int, int]:
        start = self._first + 2 * self._size * index
        return start, start + self._size

    def _values(self, cell: int) -> tuple[Any, ...]:
        """Serial number and columns of a cell; nothing if it does not check, or was never written."""
        copy = bytes(self._data[cell : cell + 8 + self._struct.size])
        if crc32(copy[8:]) != int.from_bytes(copy[:8], "little") or not any(copy):
            return ()
        return self._struct.unpack(copy[8:])


def _text(value: Any) -> Any:
    return value.rstrip(b"\0").decode("utf-8", "replace") if isinstance(value, bytes) else value
