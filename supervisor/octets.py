"""Octets and tuples, looked at and put together: what lines, commands and log entries need of C. Pure.

`octets.pyx` says the same once more, compiled: there each of these is one step, where a method of `bytes` is a call
into the interpreter.
"""

from typing import Any, TypeVar
from zlib import crc32

Kind = TypeVar("Kind", bound=tuple[object, ...])


def namedtuple_of(kind: type[Kind], fields: tuple[object, ...]) -> Kind:
    """A NamedTuple of all its fields, in their order: a session makes some, and their own way is five times as long."""
    return tuple.__new__(kind, fields)


def fields_of(made: tuple[Any, ...]) -> tuple[Any, ...]:
    """A NamedTuple as a plain tuple, which is taken apart at once: by its name each field is a call away."""
    return tuple(made)


def joined(first: bytes, second: bytes) -> bytes:
    """One after the other."""
    return first + second


def find(octets: bytes, octet: int) -> int:
    """Where an octet stands first, or -1."""
    return octets.find(octet)


def part(octets: bytes, first: int, behind: int) -> bytes:
    """A piece: from `first` on, up to what stands `behind`. Both are places in it."""
    return octets[first:behind]


def word_at(octets: bytes) -> int:
    """The first four octets as one number, letters as capitals; 0 after the end."""
    return int.from_bytes(octets[:4].upper().ljust(4, b"\0"), "big")


def is_plain(octets: bytes) -> bool:
    """Whether all of them are printable ASCII, or blanks."""
    return octets.isascii() and octets.decode("ascii").isprintable()


def checksum(octets: bytes) -> int:
    """CRC-32, as zlib has it: what rows of the table are checked by."""
    return crc32(octets)


def entry(_head: str, _labels: tuple[bytes, ...], _values: tuple[object, ...]) -> bytes | None:
    """A line of the log, `head` and then each label with its value, if nothing in it is out of the ordinary.

    None leaves the line to logline.py, which knows all of it; in Python this here would not be quicker.
    """
    return None
