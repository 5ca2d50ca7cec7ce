"""The users of the module `passwd`: a file's octets, and where in them each user's line begins.

    NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET]

A line of the usual shape is recognised by one regular expression, so that 400,000 users are loaded in a second; all
others are looked at in full, and what is wrong with them is told. A million users take the size of the file and 8
octets each; a dictionary would take three times the memory, in each worker.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

from popular.pdm import linefile, passwords
from popular.pdm.contract import ModuleFailed, Route, Secret
from popular.pdm.decoys import Decoys

FIELDS = ("NAMESPACE", "USER", "HASH", "BACKEND", "TARGET")

_LARGEST_FILE = 1 << 32
_OFFSET = _LARGEST_FILE - 1

_USUAL = re.compile(
    rb"^(?P<key>[A-Za-z0-9_.-]+:[!-9;-~](?:[ -9;-~]*[!-9;-~])?):(?P<hash>[!-9;-~]+):[A-Za-z0-9_.-]+:[ -~]*\r?$",
    re.MULTILINE,
)
"""A good line in printable ASCII, but for what stands in HASH. Every other shape, good or bad, takes the long way."""


@dataclass(frozen=True, slots=True, repr=False)
class User:
    """One line."""

    namespace: str
    name: str
    hash: str
    route: Route


class Users:
    """Invariant: `_index` is sorted; each item is the checksum of a user's key (upper 32 bits) and the offset of his
    line (lower 32).
    """

    __slots__ = ("_content", "_index", "decoys", "ended", "faults", "forms", "samples", "status")

    def __init__(self, path: str, strict: bool, content: linefile.LineFileContent | None = None) -> None:
        """`content`: of a file that was read already; `path` is for people then. Raises ModuleFailed."""
        self.faults = linefile.Faults(path, strict)
        content = content or linefile.read(path)
        self._content, self.status = content
        self.ended = content.ended(path)
        self.faults.look_at_end(self._content)
        if len(self._content) >= _LARGEST_FILE:
            raise ModuleFailed(f"{path} is larger than 4 GiB")
        counts: dict[str, int] = {}
        samples: dict[str, str] = {}
        index = []
        for key, start, stored, form in self._good_lines():
            counts[form] = counts.get(form, 0) + 1
            samples.setdefault(form, stored)
            index.append(crc32(key) << 32 | start)
        index.sort()
        self._index = array("Q", index)
        self._drop_doubles()
        self.faults.refuse_if_all_are_bad(len(self._index))
        self.forms, self.samples = counts, samples
        self.decoys = Decoys(counts, samples, users=len(self._index), path=path)

    @property
    def number(self) -> int:
        """How many users there are."""
        return len(self._index)

    def find(self, namespace: str, name: str) -> User | None:
        """The user of this name, or None."""
        offset = self._locate(namespace, name)
        return None if offset is None else self._at(offset)

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Each user's key, and what stands after it in his line, in the order of the file."""
        for offset in sorted(item & _OFFSET for item in self._index):
            namespace, name, rest = self._line(offset).split(b":", 2)
            yield namespace + b":" + name, rest

    def _good_lines(self) -> Iterator[tuple[bytes, int, str, str]]:
        """Each good line: the user's key, the offset, the stored password and its form."""
        content = self._content
        # Lines are counted only as far as one of them needs its number.
        position, counted, number = 0, 0, 1
        for match in _USUAL.finditer(content):
            start = match.start()
            if start > position:
                number += content.count(b"\n", counted, position)
                counted = position
                yield from self._looked_at(linefile.lines(content, position, start, number=number))
            position = match.end() + 1
            try:
                stored = match["hash"].decode("ascii")
                form = passwords.form_of(stored)
            except passwords.UnknownForm as error:
                number += content.count(b"\n", counted, start)
                counted = start
                self.faults.add(number, f"HASH: {error}")
                continue
            yield match["key"], start, stored, form
        number += content.count(b"\n", counted, position)
        yield from self._looked_at(linefile.lines(content, position, None, number=number))

    def _looked_at(self, lines: Iterator[linefile.Line]) -> Iterator[tuple[bytes, int, str, str]]:
        for line in lines:
            try:
                user = _checked(line.text())
                form = _form(user.hash)
            except linefile.BadLine as bad:
                self.faults.add(line.number, str(bad))
                continue
            yield key_of(user.namespace, user.name), line.start, user.hash, form

    def _at(self, offset: int) -> User:
        return user_of(self._line(offset).decode())

    def _line(self, offset: int) -> bytes:
        end = self._content.find(b"\n", offset)
        octets = self._content[offset:] if end < 0 else self._content[offset:end]
        return octets.removesuffix(b"\r")

    def _locate(self, namespace: str, name: str) -> int | None:
        """Offset of the first line of this user."""
        checksum = crc32(key_of(namespace, name))
        position = bisect_left(self._index, checksum << 32)
        while position < len(self._index) and self._index[position] >> 32 == checksum:
            offset = self._index[position] & _OFFSET
            user = self._at(offset)
            if (user.namespace, user.name) == (namespace, name):
                return offset
            position += 1
        return None

    def _drop_doubles(self) -> None:
        """Keeps the first of several lines of one user; the others are bad."""
        doubles = []
        for one, other in pairwise(self._index):
            if one >> 32 == other >> 32:  # equal keys have equal checksums (and few others have)
                user = self._at(other & _OFFSET)
                first = self._locate(user.namespace, user.name)
                assert first is not None, "each line is in the index"
                if first != other & _OFFSET:
                    doubles.append((other & _OFFSET, user, first))
        doubles.sort(key=lambda double: double[0])
        for offset, user, first in doubles[: linefile.MOST_TOLD]:
            self.faults.add(
                self._number(offset),
                f"there is a user '{user.name}' of namespace '{user.namespace}' already, in line {self._number(first)}",
            )
        self.faults.add_untold(len(doubles[linefile.MOST_TOLD :]))
        if doubles:
            dropped = {offset for offset, *_ in doubles}
            self._index = array("Q", [item for item in self._index if item & _OFFSET not in dropped])

    def _number(self, offset: int) -> int:
        return self._content.count(b"\n", 0, offset) + 1


def user_of(text: str) -> User:
    """A line, taken apart. Raises ValueError if it has too few fields."""
    namespace, name, stored, backend, target, *secret = text.split(":", len(FIELDS))
    own_secret = Secret(secret[0].encode()) if secret and secret[0] else None
    return User(namespace, name, stored, route=Route(backend, target or None, own_secret))


def key_of(namespace: str, name: str) -> bytes:
    """What a user is looked up by."""
    return f"{namespace}:{name}".encode(errors="surrogatepass")


def _checked(text: str) -> User:
    colons = text.count(":")
    if colons < len(FIELDS) - 1:
        raise linefile.BadLine(f"{colons + 1} of the fields {':'.join(FIELDS)}[:SECRET] are there")
    user = user_of(text)
    linefile.identifier("NAMESPACE", user.namespace)
    linefile.identifier("BACKEND", user.route.backend)
    if user.name != user.name.strip() or not user.name:
        raise linefile.BadLine("USER is empty" if not user.name else "USER has a blank at its end or beginning")
    return user


def _form(stored: str) -> str:
    if not stored:
        raise linefile.BadLine("HASH is empty: '!' locks a user out")
    try:
        return passwords.form_of(stored)
    except passwords.UnknownForm as error:
        raise linefile.BadLine(f"HASH: {error}") from None
