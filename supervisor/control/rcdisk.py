"""Reads rc files from the disk, for the parser in `rcfile.py`.

Neither a FIFO that nobody writes to nor a device without end stops whoever reads.
"""

import os
import stat
import sys
from typing import BinaryIO

from supervisor.control.rcfile import Content, Unreadable

STANDARD_INPUT = "-"
MOST_OCTETS = 64 << 20


def read_regular(name: str) -> Content:
    """A regular file. Raises Unreadable for everything else: a program must be able to start from it again."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise Unreadable(f"{name}: {getattr(error, 'strerror', error)}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise Unreadable(f"{name}: not a regular file")
    with open(fd, "rb") as file:
        return _content(name, file, (status.st_dev, status.st_ino))


def read_any(name: str) -> Content:
    """A file, a FIFO, or `-` for standard input, to its end. Raises Unreadable."""
    if name == STANDARD_INPUT:
        return _content("standard input", sys.stdin.buffer, STANDARD_INPUT)
    try:
        with open(name, "rb") as file:
            status = os.fstat(file.fileno())
            return _content(name, file, (status.st_dev, status.st_ino))
    except (OSError, ValueError) as error:
        raise Unreadable(f"{name}: {getattr(error, 'strerror', error)}") from None


def _content(name: str, file: BinaryIO, identity: object) -> Content:
    try:
        octets = file.read(MOST_OCTETS + 1)
    except OSError as error:
        raise Unreadable(f"{name}: {error.strerror}") from None
    if len(octets) > MOST_OCTETS:
        raise Unreadable(f"{name}: too long; allowed: {MOST_OCTETS} octets")
    return Content(octets, identity, name)
