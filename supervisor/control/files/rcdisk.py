"""Reads rc files from the disk, for the parser in `rcfile.py`.

Neither a FIFO that nobody writes to nor a device without end stops whoever reads.
"""

import os
import stat
import sys
from typing import BinaryIO

from supervisor.control.files.rcfile import FileContent, UnreadableFile

STANDARD_INPUT = "-"
MOST_OCTETS = 64 << 20


def read_regular(name: str) -> FileContent:
    """A regular file. Raises UnreadableFile for everything else: a program must be able to start from it again."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{name}: {getattr(error, 'strerror', error)}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise UnreadableFile(f"{name}: not a regular file")
    with open(fd, "rb") as file:
        return _content(name, file, (status.st_dev, status.st_ino))


def read_any(name: str) -> FileContent:
    """A file, a FIFO, or `-` for standard input, to its end. Raises UnreadableFile."""
    if name == STANDARD_INPUT:
        return _content("standard input", sys.stdin.buffer, STANDARD_INPUT)
    try:
        with open(name, "rb") as file:
            status = os.fstat(file.fileno())
            return _content(name, file, (status.st_dev, status.st_ino))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{name}: {getattr(error, 'strerror', error)}") from None


def _content(name: str, file: BinaryIO, identity: object) -> FileContent:
    try:
        octets = file.read(MOST_OCTETS + 1)
    except OSError as error:
        raise UnreadableFile(f"{name}: {error.strerror}") from None
    if len(octets) > MOST_OCTETS:
        raise UnreadableFile(f"{name}: too long; allowed: {MOST_OCTETS} octets")
    return FileContent(octets, identity, name)
