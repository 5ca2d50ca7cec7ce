"""The constant database of D. J. Bernstein (https://cr.yp.to/cdb/cdb.txt): a file that is made once, then only read.

    256 pairs                                position and number of slots of a hash table
    records                                  length of key, length of data, key, data
    256 tables, each twice as long as needed hash of a key, position of its record (0: no more of this hash)

All numbers have 32 bits, little-endian; so a file has less than 4 GiB. A lookup is two or three reads.

The file is read by pread(2), not mapped into memory: all workers share it in the page cache either way, and a file that
was cut off, or a disk that fails, is then an error and not a signal that kills the worker (SIGBUS).
"""

import os
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import BinaryIO

MOST_OCTETS = (1 << 32) - 1
LONGEST_DATA = 1 << 16

_TABLES = 256
_HEADER = struct.Struct("<512I")
_PAIR = struct.Struct("<II")
_SLOTS_AT_ONCE = 8
_RECORD_AT_ONCE = 512


class BadDatabase(Exception):
    """The file is no cdb, or was broken off. The text quotes nothing of it."""


def hash_of(key: bytes) -> int:
    """32 bits."""
    found = 5381
    for octet in key:
        found = (found * 33 & 0xFFFFFFFF) ^ octet
    return found


class Reader:
    """An open file. Many threads may ask it; `records` is how many records it has."""

    __slots__ = ("_fd", "_size", "_tables", "records")

    def __init__(self, fd: int) -> None:
        """Takes the descriptor over if it does not raise BadDatabase or OSError."""
        self._size = os.fstat(fd).st_size
        header = os.pread(fd, _HEADER.size, 0)
        if len(header) < _HEADER.size:
            raise BadDatabase("it is too short for a cdb")
        self._tables = _HEADER.unpack(header)
        for position, slots in zip(self._tables[::2], self._tables[1::2], strict=True):
            if slots and not _HEADER.size <= position <= self._size - _PAIR.size * slots:
                raise BadDatabase("it is no cdb, or was broken off")
        self.records = sum(self._tables[1::2]) // 2
        self._fd = fd

    def get(self, key: bytes) -> bytes | None:
        """The data of the first record with this key. Raises BadDatabase, OSError."""
        wanted = hash_of(key)
        table = 2 * (wanted % _TABLES)
        position, slots = self._tables[table], self._tables[table + 1]
        looked_at, slot = 0, wanted // _TABLES % slots if slots else 0
        while looked_at < slots:
            count = min(_SLOTS_AT_ONCE, slots - slot)
            octets = self._read(position + _PAIR.size * slot, _PAIR.size * count)
            for found, record in _PAIR.iter_unpack(octets):
                if record == 0:
                    return None
                if found == wanted and (data := self._data_of(record, key)) is not None:
                    return data
            looked_at += count
            slot = (slot + count) % slots
        return None

    def first(self, most: int) -> Iterator[tuple[bytes, bytes]]:
        """So many records, as they stand in the file. Raises BadDatabase, OSError."""
        position = _HEADER.size
        for _ in range(min(most, self.records)):
            key_length, data_length = _PAIR.unpack(self._read(position, _PAIR.size))
            if key_length + data_length > self._size:
                raise BadDatabase("a record is longer than the file")
            octets = self._read(position + _PAIR.size, key_length + data_length)
            yield octets[:key_length], octets[key_length:]
            position += _PAIR.size + key_length + data_length

    def close(self) -> None:
        os.close(self._fd)

    def _data_of(self, position: int, key: bytes) -> bytes | None:
        """The data of this record, if it has the key."""
        octets = os.pread(self._fd, _RECORD_AT_ONCE, position)
        if len(octets) < _PAIR.size:
            raise BadDatabase("a record lies after the end of the file")
        key_length, data_length = _PAIR.unpack_from(octets)
        begin = _PAIR.size + key_length
        if key_length != len(key) or self._part(octets, position, begin=_PAIR.size, end=begin) != key:
            return None
        if data_length > LONGEST_DATA:
            raise BadDatabase(f"a record has more than {LONGEST_DATA} octets")
        return self._part(octets, position, begin=begin, end=begin + data_length)

    def _part(self, octets: bytes, position: int, *, begin: int, end: int) -> bytes:
        """Octets of a record, of which the first ones have been read."""
        return octets[begin:end] if end <= len(octets) else self._read(position + begin, end - begin)

    def _read(self, position: int, count: int) -> bytes:
        octets = os.pread(self._fd, count, position)
        if len(octets) < count:
            raise BadDatabase("it was broken off")
        return octets


def write(file: BinaryIO, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Makes a database of these records in an empty file; gives their number. Raises BadDatabase, OSError."""
    tables: list[list[tuple[int, int]]] = [[] for _ in range(_TABLES)]
    file.seek(_HEADER.size)
    position = _HEADER.size
    for key, data in records:
        found = hash_of(key)
        tables[found % _TABLES].append((found, position))
        file.write(_PAIR.pack(len(key), len(data)) + key + data)
        position += _PAIR.size + len(key) + len(data)
        _check_size(position)
    header: list[int] = []
    for entries in tables:
        slots = 2 * len(entries)
        header += (position, slots)
        file.write(_table(entries, slots))
        position += _PAIR.size * slots
        _check_size(position)
    file.seek(0)
    file.write(_HEADER.pack(*header))
    return sum(map(len, tables))


def _check_size(octets: int) -> None:
    if octets > MOST_OCTETS:
        raise BadDatabase("a cdb has less than 4 GiB")


def _table(entries: list[tuple[int, int]], slots: int) -> bytes:
    numbers = array("I", bytes(_PAIR.size * slots))
    for found, position in entries:
        slot = found // _TABLES % slots
        while numbers[2 * slot + 1]:
            slot = (slot + 1) % slots
        numbers[2 * slot], numbers[2 * slot + 1] = found, position
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
