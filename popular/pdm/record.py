"""A user as a database has him: what the fields of his record mean, whichever database it is.

    password      his stored password, in any form that `passwords.py` knows
    backend       the id of his backend, or HOST:PORT where the operator allows that (`pdm conf ID allow …`)
    target        his mailbox (XPOP, CXPOP), or his name on the backend (POP3)
    secret        his password on the backend
    flags         XPOP flag letters
    locked        1, true, yes, t, y or on: he may not come in
    sessions      how many he may have at once; 0: as many as he likes
    login_delay   seconds from one login of his to the next
    account       as whom he is counted, where his name may be written in several ways (Joe, joe, joe@example.org)

A field that is absent, NULL or empty means nothing; other fields are passed over. Names are taken in any case. What is
wrong with a field is said by its name only: its content could be a secret.
"""

import asyncio
import re
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import NamedTuple, TypeVar

from popular.pdm import passwords
from popular.pdm.arguments import kinds
from popular.pdm.contract import (
    CERTIFICATE,
    PASSWORD,
    SCRAM,
    UNKNOWN,
    Answer,
    Authenticated,
    KeysWanted,
    KnownUser,
    Provable,
    Question,
    QuestionFailed,
    Refused,
    Route,
    Secret,
    Unknown,
    UserLimits,
)
from popular.pdm.decoys import Decoys
from popular.pdm.proving import STORED_IN_CLEAR, provable, proven, shown_to_nobody
from popular.pdm.target import Fill, filled
from popular.pdm.userfile import key_of
from popular.protocol.scram import ScramKeys
from supervisor.serving.threadpool import NoThread, ThreadPool

FIELDS = ("password", "backend", "target", "secret", "flags", "locked", "sessions", "login_delay", "account")
ROUTING = ("backend", "target")
"""Arguments of a module that count where a record has no such field."""
TAKES = "takes"
"""An argument that says which kinds of credential the records can answer (see `takes_of`)."""

_NO_NAME = re.compile("[\\0\\ud800-\\udfff]")
_YES = frozenset({"1", "true", "yes", "t", "y", "on", "\x01"})
_NO = frozenset({"", "0", "false", "no", "f", "n", "off", "\0"})
"""A BIT of MySQL is an octet."""
_FLAGS = re.compile("[A-Za-z]{0,52}")
_LONGEST_FIELD = 4096
_NOWHERE = Route("")
_Made = TypeVar("_Made")
_HASHING = 4
"""Threads of one module, of one worker, for passwords."""
_USUAL_HASH = "$6$decoydecoy$"
"""SHA-512 of crypt(3), for those who come before any record has been seen."""


class Defaults(NamedTuple):
    """What counts where a record does not say it: the arguments `backend ID` and `target TARGET` of a module."""

    backend: str = ""
    fill: Fill | None = None

    @classmethod
    def of(cls, module: str, words: Mapping[str, str]) -> "Defaults":
        """From a module's arguments. Raises ModuleFailed."""
        target = words.get("target")
        return cls(words.get("backend", ""), filled(module, target) if target is not None else None)

    def route(self, user: str, fields: Mapping[str, str]) -> Route:
        """Where this user's mail is. Raises QuestionFailed if nobody says it."""
        backend = fields.get("backend") or self.backend
        if not backend:
            raise QuestionFailed("the user's record has no backend, and the module has no argument `backend ID`")
        target = fields.get("target") or (self.fill(user) if self.fill is not None else None)
        secret, flags = fields.get("secret"), fields.get("flags", "")
        if not _FLAGS.fullmatch(flags):
            raise QuestionFailed("the field flags of a user's record is not letters")
        return Route(backend, target, secret=Secret(secret.encode()) if secret else None, flags=flags)


def takes_of(module: str, words: Mapping[str, str]) -> frozenset[str]:
    """From the argument `takes`: passwords, if it is not there. Challenges can be answered where all passwords are
    stored in clear, SCRAM where they are that or keys of SCRAM, which only the operator knows. Raises ModuleFailed.
    """
    return kinds(module, words, TAKES, allowed=STORED_IN_CLEAR)


def is_name(user: str) -> bool:
    """Whether a database can have such a name: UTF-8, without NUL."""
    return not _NO_NAME.search(user)


_NO_PASSWORD = "the user's record has no password"


class StoredUser(NamedTuple):
    """A record that has been understood. `hash`: None if it has no password."""

    hash: str | None
    route: Route
    limits: UserLimits | None
    locked: bool

    def known(self, takes: Container[str]) -> KnownUser:
        """What of it may be told without a password; one that fits nothing keeps him out as a lock does.

        Raises QuestionFailed if there is none, as for a login by one; not where users may come by certificate (`takes`:
        the kinds of credential that the module looks at).
        """
        if self.hash is None and CERTIFICATE not in takes:
            raise QuestionFailed(_NO_PASSWORD)
        return KnownUser(self.route, self.limits, self.keeps_out())

    def keeps_out(self) -> bool:
        """Whether no login by a password succeeds, whatever it is."""
        return self.locked or self.fits_nothing()

    def fits_nothing(self) -> bool:
        """Whether what is stored is no password, but says that there is none (`!`)."""
        return self.hash is not None and passwords.form_of(self.hash) == passwords.LOCKED


def stored_user(user: str, record: Mapping[object, object], defaults: Defaults) -> StoredUser:
    """Understands a record, as a database driver gives it: text, octets, numbers, None. Raises QuestionFailed."""
    fields = _texts(record)
    stored = fields.get("password")
    if stored is not None:
        try:
            passwords.form_of(stored)
        except passwords.UnknownForm as error:
            raise QuestionFailed(f"the field password of a user's record: {error}") from None
    locked = fields.get("locked", "")
    if locked not in _YES | _NO:
        raise QuestionFailed("the field locked of a user's record is neither yes nor no")
    limits = UserLimits(_number(fields, "sessions"), _number(fields, "login_delay"), fields.get("account", ""))
    return StoredUser(
        stored,
        defaults.route(user, fields),
        limits=limits if limits != UserLimits() else None,
        locked=locked in _YES,
    )


def _texts(record: Mapping[object, object]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for key, value in record.items():
        name = _text("", key).lower()
        if name not in FIELDS or value is None:
            continue
        text = _text(name, value)
        if name == "locked":
            fields[name] = text.strip(" ").lower()
            continue
        if len(text) > _LONGEST_FIELD or any(letter in text for letter in "\0\r\n"):
            raise QuestionFailed(f"the field {name} of a user's record is too long, or has a line end or NUL in it")
        if text:
            fields[name] = text
    return fields


def _text(name: str, value: object) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise QuestionFailed(f"the field {name} of a user's record is not UTF-8") from None
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _number(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise QuestionFailed(f"the field {name} of a user's record is no number from 0 up")
    return int(text)


class Verifier:
    """Sees whether a password fits, and makes a decoy for a name that the database does not have.

    A database cannot be asked for a sample of all its users, so decoys are made from the forms of the passwords that
    this worker has seen, each as often as it was seen.
    """

    def __init__(self, place: str) -> None:
        """`place` stands for the database: it makes the decoys of two of them differ."""
        self._place = place
        self._forms: dict[str, int] = {}
        self._samples: dict[str, str] = {}
        self._decoys = Decoys({_USUAL_HASH: 1}, {_USUAL_HASH: _usual_hash()}, users=1, path=place)
        self._threads = ThreadPool(_HASHING, "pdm-hash")
        """Not those of the loop, in which names of hosts are looked up."""
        self._seen = 0
        self._next_look = 1

    def decide(self, user: StoredUser | None, question: Question) -> Answer:
        """What comes of a user's record (None: there is none). Takes as long as the hash: not for an event loop."""
        return self.decide_among([] if user is None else [user], question)

    def decide_among(self, users: Sequence[StoredUser], question: Question) -> Answer:
        """Like `decide`, for a user with several records: several passwords, of which one has to fit."""
        if not users:
            return self._unknown(question)
        for user in users:
            self._note(user.hash)
        if question.kind == SCRAM:
            return self._provable(users, question)
        failed: QuestionFailed | None = None
        for user in users if question.kind == CERTIFICATE else _with_passwords(users):
            try:
                route = self._proven(user, question)
            except QuestionFailed as error:  # the next one may fit all the same
                failed = error
                continue
            if route is not None:
                return Refused(user.route, locked=True) if user.locked else Authenticated(route, user.limits)
        if failed is not None:
            raise failed
        return Refused(users[0].route, locked=all(user.locked for user in users))

    async def decide_later(self, users: Sequence[StoredUser], question: Question) -> Answer:
        """Like `decide_among`, for an event loop: in a thread."""
        if not users:
            return self._unknown(question)
        try:
            return await asyncio.wrap_future(self._threads.submit(self.decide_among, users, question))
        except NoThread as error:  # which is nothing that the database has done
            raise QuestionFailed(str(error)) from None

    def close(self) -> None:
        """Nobody asks any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _proven(self, user: StoredUser, question: Question) -> Route | None:
        if user.hash is None and question.kind != CERTIFICATE:
            self._spend(question)
            raise QuestionFailed(_NO_PASSWORD)
        if user.fits_nothing():
            self._spend(question)
            return None
        return _proven(user.hash, question, user.route)

    def _provable(self, users: Sequence[StoredUser], question: Question) -> Provable:
        """By the first record that has keys: a client is shown one salt, before it has said which password it has."""
        for user in users:
            if user.hash is None or user.fits_nothing():
                continue
            found = _understood(
                partial(provable, user.hash, question, user.route, limits=user.limits, locked=user.locked)
            )
            if found is not None:
                return found
        return Provable(self._shown(question), users[0].route, locked=all(user.keeps_out() for user in users))

    def _shown(self, question: Question) -> ScramKeys:
        """The keys that somebody is shown who has none."""
        return _understood(partial(shown_to_nobody, self._decoy(question), question))

    def _unknown(self, question: Question) -> Answer:
        if question.kind not in (PASSWORD, SCRAM):
            return UNKNOWN  # nothing is computed of those who are known
        rank = self._decoys.rank(key_of(question.namespace, question.user))
        decoy = self._shown if question.kind == SCRAM else self._spend
        return Unknown(partial(decoy, question), rank) if rank is not None else UNKNOWN

    def _decoy(self, question: Question) -> str | None:
        if isinstance(question.proof, KeysWanted):
            # A client sees the form, and each worker has other samples: of the salt all of them draw the same.
            return self._decoys.at(int.from_bytes(blake2b(question.proof.salt, digest_size=8).digest()))
        return self._decoys.drawn(key_of(question.namespace, question.user))

    def _spend(self, question: Question) -> None:
        stored = self._decoy(question)
        if stored is not None and question.kind == PASSWORD:
            _proven(stored, question, _NOWHERE)

    def _note(self, stored: str | None) -> None:
        """Counts the form; the decoys are made anew whenever twice as many have been seen."""
        form = passwords.form_of(stored) if stored is not None else passwords.LOCKED
        if form == passwords.LOCKED or stored is None:
            return
        self._forms[form] = self._forms.get(form, 0) + 1
        self._samples.setdefault(form, stored)
        self._seen += 1
        if self._seen >= self._next_look:
            self._next_look = 2 * self._seen
            self._decoys = Decoys(dict(self._forms), dict(self._samples), users=self._seen, path=self._place)


def _with_passwords(users: Sequence[StoredUser]) -> Sequence[StoredUser]:
    """The records that have a password: those without one are passed over, unless there is nothing else."""
    return [user for user in users if user.hash is not None] or users[:1]


def _proven(stored: str | None, question: Question, route: Route) -> Route | None:
    return _understood(partial(proven, stored, question, route))


def _understood(made: Callable[[], _Made]) -> _Made:
    try:
        return made()
    except (passwords.UnknownForm, passwords.CannotVerify) as error:
        raise QuestionFailed(f"a stored password: {error}") from None


def _usual_hash() -> str:
    return _USUAL_HASH + "." * 86
