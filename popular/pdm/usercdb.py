"""The users of the module `cdb`: a constant database that `pcdb` makes (or whoever writes records like its own).

    key   NAMESPACE:USER
    data  HASH:BACKEND:TARGET[:SECRET], as after the key in a line of `passwd`
    key   :popular, which no user has; data: a line for each form of HASH, `NUMBER STORED`, of which decoys are made

Nothing is held in memory but the places of the tables: it is the same file, in the page cache, for all workers.
"""

import os
from collections.abc import Iterator, Mapping

from popular.pdm import cdb, linefile, passwords
from popular.pdm.contract import ModuleFailed
from popular.pdm.decoys import Decoys
from popular.pdm.proving import STORED_AS_HASHES, takes_with
from popular.pdm.userfile import User, Users, key_of, user_of

FORMS_KEY = b":popular"
_SAMPLED = 1000


class UserCdb:
    """An open file. `notes` is what the operator should know of it."""

    __slots__ = ("_path", "_reader", "decoys", "notes", "number", "status", "takes")

    def __init__(self, path: str) -> None:
        """Raises ModuleFailed."""
        self._path = path
        self.takes = STORED_AS_HASHES
        """Kinds of credential that it can answer; without a record of all forms nobody knows whether it is more."""
        fd, self.status = linefile.opened(path)
        try:
            self._reader = cdb.Reader(fd)
            told = self._reader.get(FORMS_KEY)
            self.number: int = self._reader.records - (told is not None)
            """How many users there are."""
            self.decoys = self._told_decoys(told) if told is not None else self._sampled_decoys()
        except (cdb.BadDatabase, OSError) as error:
            os.close(fd)
            raise ModuleFailed(f"{path} cannot be used: {_words(error)}") from None
        self.notes = (
            ()
            if told is not None
            else (f"{path}: not made by pcdb; how dear passwords are is taken from its first {_SAMPLED} users",)
        )

    def find(self, namespace: str, name: str) -> User | None:
        """The user of this name, or None. Raises ModuleFailed."""
        if not namespace or ":" in name:
            return None  # the key would be another's
        key = key_of(namespace, name)
        try:
            data = self._reader.get(key)
            return None if data is None else _user(key, data)
        except (cdb.BadDatabase, linefile.BadLine, OSError) as error:
            raise ModuleFailed(f"{self._path}: {_words(error)}") from None

    def close(self) -> None:
        """Gives the file back."""
        self._reader.close()

    def _told_decoys(self, told: bytes) -> Decoys:
        forms: dict[str, int] = {}
        samples: dict[str, str] = {}
        for line in told.decode(errors="replace").splitlines():
            number, _, stored = line.partition(" ")
            try:
                form = passwords.form_of(stored)
                forms[form] = int(number)
            except (passwords.UnknownForm, ValueError):
                raise cdb.BadDatabase("its record of the forms of passwords is bad") from None
            samples[form] = stored
        self.takes = takes_with(forms)
        return Decoys(forms, samples, users=max(self._reader.records - 1, 1), path=self._path)

    def _sampled_decoys(self) -> Decoys:
        forms: dict[str, int] = {}
        samples: dict[str, str] = {}
        for _key, data in self._reader.first(_SAMPLED):
            stored = data.partition(b":")[0].decode(errors="replace")
            try:
                form = passwords.form_of(stored)
            except passwords.UnknownForm:
                continue
            forms[form] = forms.get(form, 0) + 1
            samples.setdefault(form, stored)
        return Decoys(forms, samples, users=max(self._reader.records, 1), path=self._path)


def records_of(users: Users) -> Iterator[tuple[bytes, bytes]]:
    """What a database of these users holds."""
    yield FORMS_KEY, _told(users.forms, users.samples)
    yield from users.entries()


def _told(forms: Mapping[str, int], samples: Mapping[str, str]) -> bytes:
    return "".join(f"{forms[form]} {samples[form]}\n" for form in sorted(forms)).encode()


def _user(key: bytes, data: bytes) -> User:
    try:
        user = user_of((key + b":" + data).decode())
    except ValueError:  # too few fields, or not UTF-8
        raise linefile.BadLine("a user's record is not HASH:BACKEND:TARGET") from None
    linefile.identifier("BACKEND of a user's record", user.route.backend)
    return user


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
