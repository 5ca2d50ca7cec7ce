"""One row: a cell with a checksum and a serial number, and where it is being written, its draft.

Each writer has a place for a draft, in the same form as a row. It writes a row there first, and then into its place; so
whoever is killed in between, or in the middle of either, leaves the row whole in one of the two. A reader that finds a
row which does not check takes the newest draft of it, if the row has not changed meanwhile: then its writer is dead, or
has not gone on, and his draft is still the one. `struct.pack_into` must never be used on the map: it writes zeros
first, and a cell is one slice assignment.

A cell: CRC-32 of what follows the first 8 octets (in 4), number of the row + 1 (in 4), serial number (8 octets,
nanoseconds of the monotonic clock, which all processes share), columns. Tables of version 4 and before have two cells
in a row instead, and no drafts: the writer overwrote the older one, the reader takes the newest that checks. There the
4 octets of the number are 0.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from zlib import crc32

from supervisor.system import Packer, Shared
from supervisor.table.layout import FREE, Layout

_NUMBER_AT = 4
_SERIAL_AT = 8
_COLUMNS_AT = 16
_MOST_LOOKS = 100
"""A reader that copies while a busy writer writes finds the row torn, and changed after that: then it looks again."""


class RowWriter:
    """Writes rows. One process at a time owns a row: who holds its token."""

    __slots__ = (
        "_blank",
        "_first",
        "_freed",
        "_freed_by",
        "_in_order",
        "_packer",
        "_row_size",
        "names",
    )

    def __init__(self, layout: Layout, segment: memoryview, block: int) -> None:
        """`block`: that of the process which writes."""
        self._first = layout.rows_offset
        self._row_size = layout.row_size
        self._packer = Packer(layout.cell_struct.format, Shared(segment), layout.draft_offset(block))
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
        """Replaces the row. Takes every column by its name; text is cut to its width."""
        assert len(columns) == len(self._blank), f"the columns are {', '.join(self._blank)}"
        self.put(row, self._in_order(columns))

    def put(self, row: int, values: tuple[object, ...]) -> None:
        """Like `write`, for who writes often: the columns by their order, see `names`."""
        self._packer.put(self._first + row * self._row_size, row, values)


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
        self._cells = range(0, layout.row_cells * layout.cell_size, layout.cell_size)
        """Where the cells of a row begin in it."""
        self._length = _SERIAL_AT + self._struct.size
        self._drafts = [layout.draft_offset(block) for block in range(layout.draft_count)]

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
            if _checks(copy):
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
        start, end, step = layout.rows_offset, layout.row_offset(layout.row_count), layout.row_size
        octets = memoryview(self._map)[: layout.size]
        words = octets.cast("Q")
        firsts = [start + cell for cell in self._cells]
        serials = [words[(first + _SERIAL_AT) // 8 : end // 8 : step // 8].tolist() for first in firsts]
        states = [octets[first + _COLUMNS_AT : end : step].tolist() for first in firsts]
        by_row = zip(zip(*serials, strict=True), zip(*states, strict=True), strict=True)
        for row, (serials_of, states_of) in enumerate(by_row):
            newest = serials_of.index(max(serials_of))
            if states_of[newest] != FREE:
                yield row, firsts[newest] + row * step

    def _newest(self, row: int) -> Sequence[Any] | None:
        start = self._layout.row_offset(row)
        for _ in range(_MOST_LOOKS):
            copy = bytes(self._map[start : start + self._layout.row_size])
            values = self._newest_in(copy)
            if values is not None or not any(copy):
                return values
            values = self._drafted(row)
            if values is not None and self._map[start : start + self._layout.row_size] == copy:
                return values
        return None

    def _drafted(self, row: int) -> Sequence[Any] | None:
        """What the newest draft of a row says."""
        copies = [bytes(self._map[draft : draft + self._length]) for draft in self._drafts]
        number = (row + 1).to_bytes(_SERIAL_AT - _NUMBER_AT, "little")
        found = [copy for copy in copies if copy[_NUMBER_AT:_SERIAL_AT] == number and _checks(copy)]
        if not found:
            return None
        return max((self._struct.unpack(copy[_SERIAL_AT:]) for copy in found), key=itemgetter(0))[1:]

    def _newest_in(self, copy: bytes) -> Sequence[Any] | None:
        newest: Sequence[Any] | None = None
        for start in self._cells:
            cell = copy[start : start + self._length]
            if _checks(cell):
                values = self._struct.unpack(cell[_SERIAL_AT:])
                if newest is None or values[0] > newest[0]:
                    newest = values
        return None if newest is None else newest[1:]


def _checks(cell: bytes) -> bool:
    return crc32(cell[_SERIAL_AT:]) == int.from_bytes(cell[:_NUMBER_AT], "little")


def _text(value: Any) -> Any:
    return value.rstrip(b"\0").decode("utf-8", "replace") if isinstance(value, bytes) else value
