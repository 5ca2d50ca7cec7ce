"""Files with one entry a line, as the modules `passwd` and `master` read them.

A file is read whole before anything of it is used. `#` begins a comment line; empty lines count for nothing; a line
ends at LF or CRLF. A bad line is skipped, counted and told (the first ten, by their numbers), so that one of 400,000
does not keep a site down; with `strict` among the module's arguments it is a `ModuleFailed`, and nothing of the file is
used. What is told never quotes a line: hashes and passwords are in there.

Who may read the file is the operator's affair (0640 is a good mode; the secrets in it are as safe as its mode). A file
that *everybody may write* is refused: it would let everybody into every mailbox. One whose last line has no line end
may be cut there, which is told; where the former version had one, the proxy goes on with that (`AboutModule.ended`).
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from popular.pdm.contract import ModuleFailed
from supervisor.runtime.lineend import is_ended

IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]+")
"""A namespace or a backend: the type Id of the control language."""

STRICT = "strict"
"""The argument that makes a bad line a failure."""

MOST_TOLD = 10
"""Bad lines of a file that are told one by one."""

UNENDED = "its last line has no line end, and counts; with one, a later version that is cut there would be noticed"
"""The note on a file that was written by hand, or cut before it was first read."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def split_strict(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `strict`, and whether it was among them. A file of this name is written ./strict."""
    return [word for word in arguments if word != STRICT], STRICT in arguments


class LineFileContent(NamedTuple):
    """All octets of a file, and what fstat(2) said of it before they were read."""

    octets: bytes
    status: os.stat_result

    def __repr__(self) -> str:
        return f"Content({len(self.octets)} octets)"

    def ended(self, path: str) -> frozenset[str]:
        """This file, if it ends with a line end, as `AboutModule.ended` has it; else nothing."""
        return frozenset({path}) if is_ended(self.octets) else frozenset()


def read(path: str) -> LineFileContent:
    """A regular file, whole. Raises ModuleFailed."""
    fd, status = opened(path)
    try:
        with open(fd, "rb") as file:
            return LineFileContent(file.read(), status)
    except OSError as error:
        raise ModuleFailed(f"{path} cannot be read: {error.strerror}") from None


def opened(path: str) -> tuple[int, os.stat_result]:
    """A descriptor of a regular file that not everybody may write, and what fstat(2) says. Raises ModuleFailed."""
    try:
        # Not blocking, so that a named pipe is refused instead of waited for.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(fd)
    except OSError as error:
        raise ModuleFailed(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ModuleFailed("a file name cannot hold a NUL") from None
    fault = ""
    if not stat.S_ISREG(status.st_mode):
        fault = "is not a regular file"
    elif status.st_mode & stat.S_IWOTH:
        fault = "may be written by everybody: take that right away (chmod o-w)"
    if fault:
        os.close(fd)
        raise ModuleFailed(f"{path} {fault}")
    return fd, status


class BadLine(Exception):
    """Says what is wrong with a line, and quotes nothing of it."""


class Line(NamedTuple):
    """One entry: its number in the file (from 1), the offset of its first octet, and its octets."""

    number: int
    start: int
    octets: bytes

    def __repr__(self) -> str:
        return f"Line({self.number})"

    def text(self) -> str:
        """The line as text. Raises BadLine."""
        try:
            text = self.octets.decode()
        except UnicodeDecodeError:
            raise BadLine("is not UTF-8") from None
        if _CONTROL.search(text):
            raise BadLine("holds a control character")
        return text


def lines(content: bytes, start: int = 0, end: int | None = None, *, number: int = 1) -> Iterator[Line]:
    """The entries between two offsets, without comments and empty lines. `number` is that of the line at `start`."""
    end = len(content) if end is None else end
    while start < end:
        line_end = content.find(b"\n", start, end)
        line_end = line_end if line_end >= 0 else end
        octets = content[start:line_end].removesuffix(b"\r")
        if octets.strip() and not octets.startswith(b"#"):
            yield Line(number, start, octets)
        start = line_end + 1
        number += 1


def identifier(name: str, word: str) -> str:
    """The word, if it is an id. Raises BadLine."""
    if not IDENTIFIER.fullmatch(word):
        raise BadLine(f"{name} is {'empty' if not word else 'no id'}: letters, digits, '_', '-' and '.' are allowed")
    return word


class Faults:
    """The bad lines of one file: how many there are, and what is wrong with the first ones."""

    def __init__(self, path: str, strict: bool) -> None:
        self._path = path
        self._strict = strict
        self._told: list[tuple[int, str]] = []
        self._unended = False
        self.count = 0

    def look_at_end(self, octets: bytes) -> None:
        """What the last line says counts; but if the file was cut there, it is not what somebody has written."""
        self._unended = not is_ended(octets)

    def add(self, number: int, what: str) -> None:
        """A bad line. Raises ModuleFailed if there may be none."""
        if self._strict:
            raise ModuleFailed(f"{self._path}:{number}: {what}")
        self.count += 1
        self._told = sorted([*self._told, (number, what)])[:MOST_TOLD]

    def add_untold(self, count: int) -> None:
        """So many more, after those that are told."""
        self.count += count

    def refuse_if_all_are_bad(self, good: int) -> None:
        """Raises ModuleFailed if not one line is good: that is another kind of file, and no mistake in a line."""
        if self.count and not good:
            number, what = self._told[0]
            raise ModuleFailed(f"{self._path}:{number}: {what}; no line of this file is good")

    def notes(self) -> list[str]:
        """For the operator: how many lines are skipped, and why, for the first ten."""
        unended = [f"{self._path}: {UNENDED}"] if self._unended else []
        if not self.count:
            return unended
        several = "s are" if self.count > 1 else " is"
        which = f", the first {MOST_TOLD} of them" if self.count > MOST_TOLD else ""
        return [
            f"{self._path}: {self.count} bad line{several} skipped{which}",
            *(f"{self._path}:{number}: {what}" for number, what in self._told),
            *unended,
        ]
