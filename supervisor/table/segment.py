"""Making, attaching and reading the segment.

`create` makes it in POSIX shared memory (mode 0600) and reserves its pages, so that a full /dev/shm is an error at
the start and not a SIGBUS later; forked workers inherit the map. `View` reads a living segment or a copied file, and
never writes.
"""

import errno
import mmap
import os
import stat
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import posix_ipc

from supervisor.table.affected import Affected
from supervisor.table.blocked import BLOCKED_OCTETS, Blocked
from supervisor.table.contents import BASE_CELLS, BIRTH_CELL, HEALTH_CELLS, TOKEN_CELL, UP, Counter, Histogram
from supervisor.table.header import read_header
from supervisor.table.layout import Layout
from supervisor.table.names import Name, read_names
from supervisor.table.notes import NOTES_OCTETS, Notes
from supervisor.table.records import Records
from supervisor.table.remembered import Geometry, Remembered
from supervisor.table.rows import RowReader, RowWriter
from supervisor.table.sightings import SIGHTINGS_OCTETS, Sightings

_MOST_LOOKS = 10
_KEY_OCTETS = 32


FOLDER = Path("/dev/shm")
"""Where Linux has shared memory."""


def memory_octets(rows: int) -> int:
    """How much workers remember together, for so many sessions."""
    return Geometry.of(rows).size + SIGHTINGS_OCTETS + BLOCKED_OCTETS + NOTES_OCTETS


class NoSharedMemory(OSError):
    """The table cannot be made; the text is for people."""


class NameTaken(NoSharedMemory):
    """Somebody else has a segment of that name, which cannot be removed."""


class NoRoom(NoSharedMemory):
    """Shared memory is too small for the table."""


class Segment:
    """The table, for those who write it: the master and its workers."""

    def __init__(self, name: str, layout: Layout, memory: mmap.mmap) -> None:
        self.name = name
        self.layout = layout
        self.map = memoryview(memory)
        self.cells = self.map.cast("Q")
        self.rows = self.row_writer(0)
        """The master's."""
        self.reader = RowReader(layout, self.map)
        self.counter_cells = layout.counter_cells
        self._gauge_cells = layout.gauge_cells
        first = layout.block_offset(0) // 8
        self.all_cells = self.cells[first : first + layout.block_count * layout.block_size // 8]
        """The blocks of all processes, one after the other."""
        self.locks = os.memfd_create("popular-locks") if layout.memory else -1
        """An empty file whose octets are locks of what workers remember together; they inherit it."""
        self._key = os.urandom(_KEY_OCTETS)

    @classmethod
    def create(cls, name: str, layout: Layout) -> "Segment":
        """Makes the segment; one of the same name that a dead process left is replaced. Raises NoSharedMemory, and of
        that NameTaken.
        """
        remove(name)
        try:
            shared = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=0o600, size=layout.size)
        except posix_ipc.ExistentialError as error:
            raise NameTaken(_why_none(error)) from None
        except (posix_ipc.Error, OSError) as error:
            raise NoSharedMemory(_why_none(error)) from None
        try:
            os.posix_fallocate(shared.fd, 0, layout.size)
            memory = mmap.mmap(shared.fd, layout.size)
        except OSError as error:
            remove(name)
            raise NoRoom(f"no room for {layout.size >> 20} MiB of shared memory: {error.strerror}") from None
        finally:
            shared.close_fd()
        header = layout.header(time.time(), os.getpid())
        assert len(header) <= layout.header_size, "the names stand behind it"
        memory[: len(header)] = header
        return cls(name, layout, memory)

    def row_writer(self, block: int) -> RowWriter:
        """Writes rows for the owner of a block."""
        assert 0 <= block < self.layout.block_count, "the baseline has no owner, and no draft"
        return RowWriter(self.layout, self.map, block)

    def block(self, index: int) -> memoryview:
        """The cells of one block, to be written by its owner."""
        assert 0 <= index <= self.layout.baseline, "rows stand behind the last block"
        start = self.layout.block_offset(index) // 8
        return self.cells[start : start + self.layout.block_size // 8]

    def log_room(self, index: int) -> memoryview:
        """Where the owner of a block gathers lines of the log."""
        assert 0 <= index < self.layout.block_count, "the baseline has no owner, and no log room"
        return self.map[self.layout.log_room_slice(index)]

    def remembered(self) -> Remembered:
        """What all workers remember together; of programs that do so."""
        geometry = Geometry.of(self.layout.row_count)
        return Remembered(self._memory()[: geometry.size], geometry, locks=self.locks, key=self._key)

    def blocked(self) -> Blocked:
        """The networks that are blocked."""
        return Blocked(self._memory()[-BLOCKED_OCTETS - NOTES_OCTETS : -NOTES_OCTETS])

    def notes(self) -> Notes:
        """What workers note for the operator."""
        return Notes(self._memory()[-NOTES_OCTETS:], locks=self.locks)

    def sightings(self) -> Sightings:
        """Whom workers have seen doing what the operator asks about."""
        start = Geometry.of(self.layout.row_count).size
        return Sightings(self._memory()[start : start + SIGHTINGS_OCTETS], locks=self.locks)

    def _memory(self) -> memoryview:
        return self.map[self.layout.memory_slice]

    def token_cell(self, index: int) -> memoryview:
        """The four octets into which a block's owner reads a token."""
        start = self.layout.block_offset(index) + 8 * TOKEN_CELL
        return self.map[start : start + 4]

    def heartbeat(self, index: int) -> float:
        """When the process of a block last showed life, seconds of the monotonic clock; 0.0 if it never did."""
        return float(self.block(index)[BASE_CELLS.index("heartbeat_ns")]) / 1e9

    def sum(self, cell: int) -> int:
        """One counter's cell, over all processes that ever counted."""
        return sum(self.block(index)[cell] for index in range(self.layout.block_count) if self._has_counted(index))

    def _has_counted(self, index: int) -> bool:
        return index == 0 or self.block(index)[BIRTH_CELL] != 0

    def blocks_in_use(self) -> list[memoryview]:
        """Those in which somebody has ever counted, the master's first."""
        return [self.block(index) for index in range(self.layout.block_count) if self._has_counted(index)]

    def set_gauge(self, name: str, value: int) -> None:
        """Sets one of the master's gauges."""
        self.block(0)[self._gauge_cells[name]] = value

    def free_row(self, row: int, pid: int) -> None:
        """Marks a row as free on behalf of `pid`, after its last writer died, who may have left it half written."""
        self.rows.free(row, pid)


def remove(name: str) -> None:
    """Removes a segment from the name space; whoever has it mapped keeps it. One that is not there, or that cannot be
    removed, is left: it is in nobody's way but of one of the same name, which `create` tells.
    """
    with suppress(posix_ipc.Error, OSError):
        posix_ipc.unlink_shared_memory(name)


def _why_none(error: Exception) -> str:
    if not FOLDER.is_dir():
        return f"{FOLDER} is missing; the table of sessions needs a tmpfs there"
    match error:
        case posix_ipc.PermissionsError():
            reason = os.strerror(errno.EACCES)
        case posix_ipc.ExistentialError():
            reason = "there is one of the same name, which is not ours"
        case _:
            reason = getattr(error, "strerror", None) or str(error)
    return f"no shared memory can be made in {FOLDER}: {reason}"


def path_of(name: str) -> Path:
    """Where the segment can be opened as a file (Linux)."""
    return FOLDER / name.lstrip("/")


class Reading(NamedTuple):
    """What stands in the cells of one index: `ident` is its id, "" for what is not kept by a sort."""

    ident: str
    numbers: Sequence[int]


class HealthReading(NamedTuple):
    """How well a thing did in the last minute, and the last time that it did not; see HEALTH_CELLS."""

    ident: str
    good: int
    bad: int
    reason: str
    failed: int
    since: int
    condition: str = UP
    """What it was found to be, whatever its configured state."""
    turned: float = 0.0
    """Since when, seconds since 1970; 0: it was never anything else."""
    why: str = ""
    """Why it is, or was the last time, not up."""
    by: str = ""
    """Who has found that."""
    users: int = 0
    """How many different users its failures were about, an estimate, since it was last well."""


def _condition(ident: str, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a record says of a thing, if it was written of it: not of one that had its index before."""
    if record is None or record["ident"] != ident:
        return {}
    return {"condition": record["word"], "turned": record["since"], "why": record["why"], "by": record["by"]}


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

    def tally(self, names: Sequence[str]) -> "Tally[tuple[Any, ...]]":
        """How many living sessions there are of each combination of values in these columns; the state as a phrase."""
        states = self.layout.states
        where = names.index("state") if "state" in names else None
        tally: Tally[tuple[Any, ...]] = Tally()
        for values, count in self._reader.tally(names).items():
            if where is not None:
                state = values[where]
                phrase = states[state] if state < len(states) else f"state {state}"
                values = (*values[:where], phrase, *values[where + 1 :])
            tally[values] += count
        return tally

    def counters(self) -> dict[str, int | dict[str, int]]:
        """All counters, summed over blocks and indexes; one with labels is a mapping from label to number.

        What is gone from the configuration is counted too: these sums never fall, but of what is counted while it is
        there.
        """
        cells = self._summed()
        sums: dict[str, int | dict[str, int]] = {}
        for counter in self.layout.counters:
            totals = [sum(column) for column in zip(*self._by_index(cells, counter), strict=True)]
            sums[counter.name] = dict(zip(counter.labels, totals, strict=True)) if counter.labels else totals[0]
        return sums

    def readings(self) -> dict[str, list[Reading]]:
        """The cells of every counter and histogram, for each id that has an index; numbers begin at 0 with the id."""
        names = self.names()
        for _ in range(_MOST_LOOKS):
            cells, baseline = self._summed(), self._block(self.layout.baseline)
            before, names = names, self.names()
            if before == names:
                break
        counted = [number - taken for number, taken in zip(cells, baseline, strict=True)]
        steady = {
            sort: [new.ident if new == old else "" for new, old in zip(names[sort], before[sort], strict=True)]
            for sort in names
        }
        return {
            row.name: [
                Reading(ident, numbers)
                for ident, numbers in zip(steady.get(row.by, [""]), self._by_index(counted, row), strict=True)
                if ident or not row.by
            ]
            for row in self.layout.counted
        }

    def names(self) -> dict[str, list[Name]]:
        """Who has which index, by sort."""
        return read_names(self.layout, self._data)

    def _by_index(self, cells: Sequence[int], row: Counter | Histogram) -> Iterator[Sequence[int]]:
        """The cells of one counter or histogram, index by index."""
        first = self.layout.counter_cells[row.name]
        for index in range(self.layout.index_counts[row.by]):
            start = first + index * row.width
            yield cells[start : start + row.width]

    def gauges(self) -> dict[str, int]:
        """The master's gauges."""
        block = self._block(0)
        return {name: block[cell] for name, cell in self.layout.gauge_cells.items()}

    def healths(self) -> dict[str, list[HealthReading]]:
        """What the master keeps of each configured thing of a sort, in the order of their places."""
        block, names = self._block(0), self.names()
        labels = {row.name: ("", *row.labels) for row in self.layout.counters}
        found: dict[str, list[HealthReading]] = {}
        for health in self.layout.healths:
            found[health.by] = []
            conditions = self.records(health.record)
            affected = Affected(self.layout, self._data, health.by)
            for place, name in enumerate(names[health.by]):
                cell = self.layout.health_cells[health.by] + place * len(HEALTH_CELLS)
                watched, good, bad, reason, failed, since = block[cell : cell + len(HEALTH_CELLS)]
                if watched and name.ident:
                    why = labels[health.bad][reason] if reason < len(labels[health.bad]) else ""
                    found[health.by].append(
                        HealthReading(
                            name.ident, good, bad, reason=why, failed=failed, since=since, users=affected.count(place)
                        )._replace(**_condition(name.ident, conditions.get(name.ident)))
                    )
        return found

    def records(self, name: str) -> dict[str, dict[str, Any]]:
        """What workers found out about each thing of a sort, by id; nothing of those nobody has looked at."""
        shape = next((row for row in self.layout.records if row.name == name), None)
        if shape is None:
            return {}
        records, names = Records(self.layout, self._data, name), self.names()[shape.by]
        found = {one.ident: records.read(index) for index, one in enumerate(names) if one.ident}
        return {ident: columns for ident, columns in found.items() if columns is not None}

    def workers(self) -> list[dict[str, int]]:
        """The processes that own a block now: the first cells of their blocks, by name."""
        shown = (self._process(index) for index in range(1, self.layout.block_count))
        return [process for process in shown if process["pid"]]

    def gathered(self) -> int:
        """Octets of log lines that wait to be written, in the log rooms of all processes: each begins with how many."""
        if not self.layout.log_room:
            return 0
        starts = (self.layout.log_room_slice(block).start for block in range(self.layout.block_count))
        return sum(int.from_bytes(self._data[start : start + 8], "little") for start in starts)

    def master(self) -> dict[str, int]:
        """The first cells of the master's block, by name."""
        return self._process(0)

    def _process(self, index: int) -> dict[str, int]:
        return dict(zip(self.layout.process_cells, self._block(index), strict=False))

    def _summed(self) -> list[int]:
        """Each cell, over the blocks in which somebody has ever counted."""
        blocks = (self._block(index) for index in range(self.layout.block_count))
        used = [block for index, block in enumerate(blocks) if index == 0 or block[BIRTH_CELL]]
        return [sum(column) for column in zip(*used, strict=True)]

    def _block(self, index: int) -> list[int]:
        start = self.layout.block_offset(index)
        return memoryview(bytes(self._data[start : start + self.layout.block_size])).cast("Q").tolist()
