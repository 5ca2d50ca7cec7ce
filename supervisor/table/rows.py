"""One row: two cells, each with a serial number and a checksum; the reader takes the newest cell that checks.

The writer always overwrites the older cell, in one slice assignment. A writer that is killed in the middle leaves one
bad cell and one good one, so that a row is readable at any instant (measured in the design: no torn read in 1.3
million). `struct.pack_into` must never be used on the map: it writes zeros first.

A cell: CRC-32 of what follows (in 8 octets), serial number (8 octets, nanoseconds of the monotonic clock, which all
processes share), columns.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from zlib import crc32

from supervisor.system import Packer, Shared
from supervisor.table.layout import FREE, Layout

_SERIAL_AT = 8
_COLUMNS_AT = 16
_MOST_LOOKS = 100
"""A reader that is interrupted while it copies can find both cells torn by a busy writer: then it looks again."""


class RowWriter:
    """Writes rows. One process at a time owns a row: who holds its token."""

    __slots__ = (
        "_blank",
        "_first",
        "_freed",
        "_freed_by",
        "_in_order",
        "_offset_cells",
        "_packer",
        "_row_size",
        "_shared",
        "_size",
        "names",
    )

    def __init__(self, layout: Layout, segment: memoryview) -> None:
        self._shared = Shared(segment)
        self._first = layout.rows_offset
        self._row_size = layout.row_size
        self._size = layout.cell_size
        self._offset_cells = layout.cell_size // 8
        self._packer = Packer(layout.cell_struct.format)
        self.names = tuple(column.name for column in layout.columns)
        """The columns, in their order."""
        self._in_order = itemgetter(*self.names)
        self._blank = {column.name: b"" if column.form.endswith("s") else 0 for column in layout.columns}
        self._freed_by = -1
        self._freed: tuple[object, ...] = ()
        """A free row, as this process writes it."""

    def free(self, row: int, pid: int) -> None:
        """The row holds no session any more; it tells who freed it."""
        if pid != self._freed_by:
            self._freed_by = pid
            self._freed = self._in_order(self._blank | {"state": FREE, "pid": pid})
        self.put(row, self._freed)

    def write(self, row: int, /, **columns: object) -> None:
        """Replaces the older of the two cells. Takes every column by its name; text is cut to its width."""
        assert len(columns) == len(self._blank), f"the columns are {', '.join(self._blank)}"
        self.put(row, self._in_order(columns))

    def put(self, row: int, values: tuple[object, ...]) -> None:
        """Like `write`, for who writes often: the columns by their order, see `names`."""
        start = self._first + row * self._row_size
        shared, serial = self._shared, (start + _SERIAL_AT) >> 3
        if shared.read(serial) > shared.read(serial + self._offset_cells):
            start += self._size
        self._packer.put(shared, start, values)


class Row(NamedTuple):
    """A row that checked: its number, and the columns by name (text decoded)."""

    number: int
    columns: dict[str, Any]


class RowReader:
    """Reads rows out of a segment or a copy of one; never writes."""

    def __init__(self, layout: Layout, segment: Any) -> None:
        self._layout = layout
        self._map = segment
        self._struct = layout.cell_struct
        self._names = [column.name for column in layout.columns]
        self._other = layout.cell_size
        self._length = _SERIAL_AT + self._struct.size

    def read(self, row: int) -> Row | None:
        """The row as it was last written, or None if it is free or was never written.

        A row that does not check is None too.
        """
        values = self._newest(row)
        if values is None or values[0] == FREE:
            return None
        return Row(row, {name: _text(value) for name, value in zip(self._names, values, strict=True)})

    def owner(self, row: int) -> int:
        """The pid of the process that last wrote the row; 0 if nobody ever did."""
        values = self._newest(row)
        return 0 if values is None else int(values[1])

    def rows(self) -> list[Row]:
        """All rows that hold a session."""
        found = (self.read(row) for row in range(self._layout.row_count))
        return [row for row in found if row is not None]

    def tally(self, names: Sequence[str]) -> "Counter[tuple[Any, ...]]":
        """How many rows hold a session, by the values of these columns.

        A row that seems free is passed over at a glance, the others are checked as ever; only the wanted columns are
        unpacked. So a full table takes a fraction of the time of `rows`.
        """
        columns = [self._names.index(name) for name in names]
        forms = (
            column.form if number in (0, *columns) else f"{struct.calcsize(column.form)}x"
            for number, column in enumerate(self._layout.columns)
        )
        wanted = struct.Struct(f"<{_COLUMNS_AT}x" + "".join(forms)).unpack
        found = Counter[tuple[Any, ...]]()
        for row, cell in self._seemingly_taken():
            copy = bytes(self._map[cell : cell + self._length])
            if crc32(copy[_SERIAL_AT:]) == int.from_bytes(copy[:_SERIAL_AT], "little"):
                found[wanted(copy)] += 1
            elif (values := self._newest(row)) is not None:
                found[tuple([values[number] for number in sorted({0, *columns})])] += 1
        places = {number: place for place, number in enumerate(sorted({0, *columns}))}
        tally = Counter[tuple[Any, ...]]()
        for values, count in found.items():
            if values[0] != FREE:
                tally[tuple([_text(values[places[number]]) for number in columns])] += count
        return tally

    def _seemingly_taken(self) -> Iterator[tuple[int, int]]:
        """Rows whose newer cell is not free, as far as a glance can tell, and where that cell begins."""
        layout = self._layout
        start, end, step, other = layout.rows_offset, layout.row_offset(layout.row_count), layout.row_size, self._other
        octets = memoryview(self._map)[: layout.size]
        words = octets.cast("Q")
        serials = [words[(cell + _SERIAL_AT) // 8 : end // 8 : step // 8].tolist() for cell in (start, start + other)]
        states = [octets[cell + _COLUMNS_AT : end : step].tolist() for cell in (start, start + other)]
        for row, (one, two, state_one, state_two) in enumerate(zip(*serials, *states, strict=True)):
            if (state_two if two > one else state_one) != FREE:
                yield row, start + row * step + (other if two > one else 0)

    def _newest(self, row: int) -> Sequence[Any] | None:
        start = self._layout.row_offset(row)
        for _ in range(_MOST_LOOKS):
            copy = bytes(self._map[start : start + self._layout.row_size])
            values = self._newest_in(copy)
            if values is not None or not any(copy):
                return values
        return None

    def _newest_in(self, copy: bytes) -> Sequence[Any] | None:
        newest: Sequence[Any] | None = None
        for cell in (0, self._layout.cell_size):
            checked = copy[cell + _SERIAL_AT : cell + _SERIAL_AT + self._struct.size]
            if crc32(checked) == int.from_bytes(copy[cell : cell + _SERIAL_AT], "little"):
                values = self._struct.unpack(checked)
                if newest is None or values[0] > newest[0]:
                    newest = values
        return None if newest is None else newest[1:]


def _text(value: Any) -> Any:
    return value.rstrip(b"\0").decode("utf-8", "replace") if isinstance(value, bytes) else value
