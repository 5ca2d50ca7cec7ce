"""Files with one entry a line, as the modules `passwd` and `master` read them.

A file is read whole, and checked whole, before anything of it is used. `#` begins a comment line; empty lines count for
nothing; a line ends at LF or CRLF. Faults are `ModuleFailed` with file and line, and never quote what a line holds:
hashes and passwords are in there.

Who may read the file is the operator's affair (0640 is a good mode; the secrets in it are as safe as its mode). A file
that *everybody may write* is refused: it would let everybody into every mailbox.
"""

import os
import re
import stat
from collections.abc import Iterator
from typing import NoReturn

from popular.pdm.contract import ModuleFailed

IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]+")
"""A namespace or a backend: the manual's type Id."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read(path: str) -> bytes:
    """All octets of a regular file. Raises ModuleFailed."""
    try:
        # Not blocking, so that a named pipe is refused instead of waited for.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ModuleFailed(f"{path} is not a regular file")
            if mode & stat.S_IWOTH:
                raise ModuleFailed(f"{path} may be written by everybody: take that right away (chmod o-w)")
            return file.read()
    except OSError as error:
        raise ModuleFailed(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ModuleFailed("a file name cannot hold a NUL") from None


class Line:
    """One entry: where it is, and its text. Knows how to complain about itself."""

    __slots__ = ("number", "path", "start", "text")

    def __init__(self, path: str, number: int, start: int, octets: bytes) -> None:
        self.path = path
        self.number = number
        self.start = start
        """Offset of its first octet in the file."""
        try:
            self.text = octets.decode()
        except UnicodeDecodeError:
            self.wrong("is not UTF-8")
        if _CONTROL.search(self.text):
            self.wrong("holds a control character")

    def __repr__(self) -> str:
        return f"Line({self.path}:{self.number})"

    def wrong(self, what: str) -> NoReturn:
        """Raises ModuleFailed: this file, this line, what is wrong with it."""
        raise ModuleFailed(f"{self.path}:{self.number}: {what}")

    def identifier(self, name: str, word: str) -> str:
        """The word, if it is an id."""
        if not IDENTIFIER.fullmatch(word):
            self.wrong(f"{name} is {'empty' if not word else 'no id'}: letters, digits, '_', '-' and '.' are allowed")
        return word


def lines(path: str, content: bytes) -> Iterator[Line]:
    """The entries of a file, without comments and empty lines. Raises ModuleFailed on the way."""
    start = number = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = end if end >= 0 else len(content)
        number += 1
        octets = content[start:end].removesuffix(b"\r")
        if octets.strip() and not octets.startswith(b"#"):
            yield Line(path, number, start, octets)
        start = end + 1
