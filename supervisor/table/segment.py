"""Making, attaching and reading the segment.

`create` makes it in POSIX shared memory (mode 0600) and reserves its pages, so that a full /dev/shm is an error at
the start and not a SIGBUS later; forked workers inherit the map. `View` reads a living segment or a copied file, and
never writes.
"""

import mmap
import os
import stat
import time
from pathlib import Path
from typing import Any

import posix_ipc

from supervisor.table.layout import BASE_CELLS, FREE, Layout, read_header
from supervisor.table.rows import RowReader, RowWriter


class NoRoom(OSError):
    """Shared memory is too small for the table."""


class Segment:
    """The table, for those who write it: the master and its workers."""

    def __init__(self, name: str, layout: Layout, memory: mmap.mmap) -> None:
        self.name = name
        self.layout = layout
        self.map = memoryview(memory)
        self.cells = self.map.cast("Q")
        self.rows = RowWriter(layout, self.map)
        self.reader = RowReader(layout, self.map)
        self.counter_cells = layout.counter_cells
        self._gauge_cells = layout.gauge_cells

    @classmethod
    def create(cls, name: str, layout: Layout) -> "Segment":
        """Makes the segment; one of the same name that a dead process left is replaced. Raises NoRoom, OSError."""
        remove(name)
        shared = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600, size=layout.size)
        try:
            os.posix_fallocate(shared.fd, 0, layout.size)
            memory = mmap.mmap(shared.fd, layout.size)
        except OSError as error:
            remove(name)
            raise NoRoom(
                error.errno, f"no room for {layout.size >> 20} MiB of shared memory: {error.strerror}"
            ) from None
        finally:
            shared.close_fd()
        header = layout.header(time.time(), os.getpid())
        memory[: len(header)] = header
        return cls(name, layout, memory)

    def block(self, index: int) -> memoryview:
        """The cells of one block, to be written by its owner."""
        start = self.layout.block_offset(index) // 8
        return self.cells[start : start + self.layout.block_size // 8]

    def hand(self, index: int) -> memoryview:
        """The four octets of the cell `hand` into which a token is read."""
        start = self.layout.block_offset(index) + 8 * BASE_CELLS.index("hand")
        return self.map[start : start + 4]

    def heartbeat(self, index: int) -> float:
        """When the process of a block last showed life, seconds of the monotonic clock; 0.0 if it never did."""
        return float(self.block(index)[BASE_CELLS.index("heartbeat_ns")]) / 1e9

    def set_gauge(self, name: str, value: int) -> None:
        """Sets one of the master's gauges."""
        self.block(0)[self._gauge_cells[name]] = value

    def free_row(self, row: int, pid: int) -> None:
        """Marks a row as free on behalf of `pid`, after its last writer died.

        Writes both cells: the dead may have left one of them half written, and the next writer would begin with the
        other one.
        """
        blank = [b"" if column.form.endswith("s") else 0 for column in self.layout.columns[4:]]
        for _cell in range(2):
            self.rows.write(row, FREE, pid, 0.0, 0.0, *blank)


def remove(name: str) -> None:
    """Removes a segment from the name space; whoever has it mapped keeps it. One that is not there is fine."""
    try:
        posix_ipc.unlink_shared_memory(name)
    except posix_ipc.ExistentialError:
        pass


def path_of(name: str) -> Path:
    """Where the segment can be opened as a file (Linux)."""
    return Path("/dev/shm") / name.lstrip("/")


class View:
    """The table, for those who watch: `pstatus`, the exporter. Reads only."""

    def __init__(self, data: Any) -> None:
        """Raises WrongFormat."""
        self._data = data
        self.header = read_header(data)
        self.layout = self.header.layout
        self._reader = RowReader(self.layout, data)

    @classmethod
    def open(cls, path: Path) -> "View":
        """Opens a state file: a link to living shared memory, or a copy. Raises OSError, WrongFormat."""
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(f"{path} is not a state file")
            if os.fstat(file.fileno()).st_size == 0:
                return cls(b"")
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def sessions(self) -> list[dict[str, Any]]:
        """The living sessions: each row's columns, with its index and its state as a phrase."""
        return [self._named(row.number, row.columns) for row in self._reader.rows()]

    def _named(self, index: int, columns: dict[str, Any]) -> dict[str, Any]:
        states = self.layout.states
        state = columns["state"]
        return {"row": index} | columns | {"state": states[state] if state < len(states) else f"state {state}"}

    def counters(self) -> dict[str, int | dict[str, int]]:
        """All counters, summed over the blocks; one with labels is a mapping from label to number."""
        cells = self._summed()
        sums: dict[str, int | dict[str, int]] = {}
        for counter in self.layout.counters:
            first = self.layout.counter_cells[counter.name]
            if counter.labels:
                sums[counter.name] = dict(zip(counter.labels, cells[first : first + len(counter.labels)], strict=True))
            else:
                sums[counter.name] = cells[first]
        return sums

    def gauges(self) -> dict[str, int]:
        """The master's gauges."""
        block = self._block(0)
        return {name: block[cell] for name, cell in self.layout.gauge_cells.items()}

    def workers(self) -> list[dict[str, int]]:
        """The processes that own a block now: pid, slot, generation, heartbeat, hand."""
        blocks = (self._block(index) for index in range(1, self.layout.block_count))
        return [dict(zip(BASE_CELLS, block, strict=False)) for block in blocks if block[0]]

    def _summed(self) -> list[int]:
        return [sum(column) for column in zip(*map(self._block, range(self.layout.block_count)), strict=True)]

    def _block(self, index: int) -> list[int]:
        start = self.layout.block_offset(index)
        return memoryview(bytes(self._data[start : start + self.layout.block_size])).cast("Q").tolist()
