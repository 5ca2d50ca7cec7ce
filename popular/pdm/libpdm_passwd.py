"""The module `passwd FILE`: users, their passwords and their mailboxes in a text file.

One user a line (`#` and empty lines: see `linefile.py`):

    NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET]

HASH is any form that `passwords.py` knows. TARGET is the mailbox (XPOP, CXPOP) or the user name on the backend (POP3);
empty = the client's own name. SECRET is the password on the backend; empty or absent = the client's own. There is no
escaping: only SECRET may hold a colon, and a plain password with a colon is written `{PLAIN.b64}` or `{PLAIN.hex}`.

The file is read when the module is opened or reloaded, and not in between. A faulty or doubled line is a `ModuleFailed`
with its number, and then nothing of the file is used. A million users take the size of the file and 8 octets each.

A user who is not in the file costs as much as one who is: he gets a decoy, a hash of one of the forms in the file, each
as often as the file has it, and the same name always the same form. So neither the time of an answer nor its spread
tells who exists. The module takes no part in the second round: it vouches for its own users only, in the first.
"""

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import accumulate, pairwise
from zlib import crc32

from popular.pdm import linefile, passwords
from popular.pdm.contract import Answer, Authenticated, Module, ModuleFailed, Question, Refused, Route, Secret, Unknown

_FIELDS = ("NAMESPACE", "USER", "HASH", "BACKEND", "TARGET")
_LARGEST_FILE = 1 << 32
_OFFSET = _LARGEST_FILE - 1


class Passwd(Module):
    """The users of one file, as it was when it was read."""

    def __init__(self, ident: str, arguments: Sequence[str], path: str | None = None) -> None:
        if len(arguments) != 1:
            raise ModuleFailed(f"passwd: one argument is wanted (FILE), not {len(arguments)}")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._path = path or os.path.abspath(arguments[0])
        self._users = _Users(self._path)

    def check(self, question: Question) -> Answer:
        """The user's line, if there is one, and whether the password fits its hash. Raises ModuleFailed."""
        user = self._users.find(question.namespace, question.user)
        if user is None:
            return Unknown(partial(self._spend, question))
        if passwords.form_of(user.hash) == passwords.LOCKED:
            self._spend(question)
            return Refused(user.route)
        return Authenticated(user.route) if self._fits(user.hash, question.password) else Refused(user.route)

    def reload(self) -> "Passwd":
        """The file, read anew."""
        return Passwd(self.ident, self.arguments, self._path)

    def _spend(self, question: Question) -> None:
        decoy = self._users.decoy(question.namespace, question.user)
        if decoy is not None:
            self._fits(decoy, question.password)

    def _fits(self, stored: str, password: Secret) -> bool:
        try:
            return passwords.verify(stored, password.reveal())
        except (passwords.UnknownForm, passwords.CannotVerify) as error:
            raise ModuleFailed(f"{self._path}: {error}") from None


def open_module(ident: str, arguments: Sequence[str]) -> Passwd:
    """See the top of this file."""
    return Passwd(ident, arguments)


@dataclass(frozen=True, slots=True, repr=False)
class _User:
    namespace: str
    name: str
    hash: str
    route: Route


def _user(text: str) -> _User:
    namespace, name, stored, backend, target, *secret = text.split(":", len(_FIELDS))
    own_secret = Secret(secret[0].encode()) if secret and secret[0] else None
    return _User(namespace, name, stored, Route(backend, target or None, own_secret))


def _key(namespace: str, name: str) -> bytes:
    return f"{namespace}:{name}".encode(errors="surrogatepass")


class _Users:
    """The file's octets, and where in them each user's line begins.

    Invariant: `_index` is sorted; each item is the checksum of a user's key (upper 32 bits) and the offset of his line
    (lower 32). A dictionary of a million users would take three times the memory, in each worker.
    """

    __slots__ = ("_content", "_decoys", "_index", "_path", "_seed", "_up_to")

    def __init__(self, path: str) -> None:
        self._path = path
        self._content = linefile.read(path)
        if len(self._content) >= _LARGEST_FILE:
            raise ModuleFailed(f"{path} is larger than 4 GiB")
        index = []
        counts: dict[str, int] = {}
        samples: dict[str, str] = {}
        for line in linefile.lines(path, self._content):
            user = _checked(line)
            form = _form(line, user.hash)
            counts[form] = counts.get(form, 0) + 1
            samples.setdefault(form, user.hash)
            index.append(crc32(_key(user.namespace, user.name)) << 32 | line.start)
        index.sort()
        self._index = array("Q", index)
        self._refuse_doubles()
        forms = sorted(counts.keys() - {passwords.LOCKED})
        self._decoys = [samples[form] for form in forms]
        self._up_to = list(accumulate(counts[form] for form in forms))
        # A stranger does not know the salts, and every worker does: a name has the same decoy in all of them.
        self._seed = blake2b("".join(self._decoys).encode()).digest()

    def find(self, namespace: str, name: str) -> _User | None:
        """The user of this name, or None."""
        offset = self._locate(namespace, name)
        return None if offset is None else self._at(offset)

    def decoy(self, namespace: str, name: str) -> str | None:
        """Some known user's stored password, for a name that has none; None if the file has no verifiable one."""
        if not self._decoys:
            return None
        fraction = int.from_bytes(blake2b(_key(namespace, name), digest_size=8, key=self._seed).digest())
        return self._decoys[bisect_right(self._up_to, fraction * self._up_to[-1] >> 64)]

    def _at(self, offset: int) -> _User:
        end = self._content.find(b"\n", offset)
        octets = self._content[offset:] if end < 0 else self._content[offset:end]
        return _user(octets.removesuffix(b"\r").decode())

    def _locate(self, namespace: str, name: str) -> int | None:
        """Offset of the first line of this user."""
        checksum = crc32(_key(namespace, name))
        position = bisect_left(self._index, checksum << 32)
        while position < len(self._index) and self._index[position] >> 32 == checksum:
            offset = self._index[position] & _OFFSET
            user = self._at(offset)
            if (user.namespace, user.name) == (namespace, name):
                return offset
            position += 1
        return None

    def _refuse_doubles(self) -> None:
        for one, other in pairwise(self._index):
            if one >> 32 == other >> 32:  # equal keys have equal checksums (and few others have)
                self._refuse_double(other & _OFFSET)

    def _refuse_double(self, offset: int) -> None:
        user = self._at(offset)
        first = self._locate(user.namespace, user.name)
        assert first is not None, "each line is in the index"
        if first != offset:
            raise ModuleFailed(
                f"{self._path}:{self._number(offset)}: there is a user '{user.name}' of namespace '{user.namespace}'"
                f" already, in line {self._number(first)}"
            )

    def _number(self, offset: int) -> int:
        return self._content.count(b"\n", 0, offset) + 1


def _checked(line: linefile.Line) -> _User:
    colons = line.text.count(":")
    if colons < len(_FIELDS) - 1:
        line.wrong(f"{colons + 1} of the fields {':'.join(_FIELDS)}[:SECRET] are there")
    user = _user(line.text)
    line.identifier("NAMESPACE", user.namespace)
    line.identifier("BACKEND", user.route.backend)
    if user.name != user.name.strip() or not user.name:
        line.wrong("USER is empty" if not user.name else "USER has a blank at its end or beginning")
    return user


def _form(line: linefile.Line, stored: str) -> str:
    if not stored:
        line.wrong("HASH is empty: '!' locks a user out")
    try:
        return passwords.form_of(stored)
    except passwords.UnknownForm as error:
        line.wrong(f"HASH: {error}")
