"""The names of the indexes: written like records, into the older of two cells, each with checksum and serial number.

So a reader never sees half a name. Only the master writes them (indexes.py).
"""

from time import monotonic_ns
from typing import Any, NamedTuple
from zlib import crc32

from supervisor.table.layout import NAME_STRUCT, Layout

_CHECKED = slice(8, NAME_STRUCT.size)


class Name(NamedTuple):
    """Who has an index: the id, "" for nobody, and since which writing."""

    serial: int
    ident: str


NOBODY = Name(0, "")


def read_names(layout: Layout, data: Any) -> dict[str, list[Name]]:
    """All names of all sorts, by index."""
    return {
        one.sort: [_newest(data, _cells(layout, one.sort, index)) for index in range(one.size)]
        for one in layout.indexes
    }


def _cells(layout: Layout, sort: str, index: int) -> tuple[int, int]:
    start = layout.name_offsets[sort] + 2 * NAME_STRUCT.size * index
    return start, start + NAME_STRUCT.size


def _newest(data: Any, cells: tuple[int, int]) -> Name:
    """The newest cell that checks; NOBODY for an index that was never given."""
    newest = NOBODY
    for cell in cells:
        copy = bytes(data[cell : cell + NAME_STRUCT.size])
        checksum, serial, ident = NAME_STRUCT.unpack(copy)
        if serial > newest.serial and checksum == crc32(copy[_CHECKED]):
            newest = Name(serial, ident.rstrip(b"\0").decode("utf-8", "replace"))
    return newest


def write_name(layout: Layout, data: memoryview, sort: str, *, index: int, ident: str) -> None:
    """Replaces the older cell, in one assignment."""
    assert 0 <= index < layout.index_counts[sort] - 1, "the last index of a sort has no name"
    cells = _cells(layout, sort, index)
    serials = [int.from_bytes(data[cell + 8 : cell + 16], "little") for cell in cells]
    older = cells[serials[0] > serials[1]]
    fresh = NAME_STRUCT.pack(0, max(monotonic_ns(), *(serial + 1 for serial in serials)), ident.encode())
    data[older : older + NAME_STRUCT.size] = crc32(fresh[_CHECKED]).to_bytes(8, "little") + fresh[_CHECKED]
