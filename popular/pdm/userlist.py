"""Lets in the users of a list: finds one, sees whether the password fits, spends a decoy on those who are not in it.

The list is whatever finds users and has decoys: a text file (`userfile.py`) or a cdb (`usercdb.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from popular.pdm import passwords
from popular.pdm.contract import (
    PASSWORD,
    SCRAM,
    UNKNOWN,
    Answer,
    Authenticated,
    KnownUser,
    ModuleFailed,
    Provable,
    Question,
    Refused,
    Route,
    Unknown,
)
from popular.pdm.decoys import Decoys
from popular.pdm.proving import provable, proven, shown_to_nobody
from popular.pdm.target import Fill
from popular.pdm.userfile import User, key_of
from popular.protocol.scram import ScramKeys

_NOWHERE = Route("")
_Made = TypeVar("_Made")


class UserSource(Protocol):
    """Where users are looked up."""

    decoys: Decoys

    def find(self, namespace: str, name: str) -> User | None:
        """The user of this name, or None. Raises ModuleFailed."""


class UserList:
    """`path` is for people; `fill` makes the target of a user whose line names none."""

    def __init__(self, path: str, users: UserSource, fill: Fill | None) -> None:
        self._path = path
        self._users = users
        self._fill = fill

    def check(self, question: Question) -> Answer:
        """The user's line, if there is one, and whether the password fits its hash. Raises ModuleFailed."""
        user = self._users.find(question.namespace, question.user)
        if user is None and question.kind not in (PASSWORD, SCRAM):
            return UNKNOWN  # nothing is computed of those who are known
        if user is None:
            rank = self._users.decoys.rank(key_of(question.namespace, question.user))
            decoy = self._shown if question.kind == SCRAM else self._spend
            return Unknown(partial(decoy, question), rank) if rank is not None else UNKNOWN
        route = self._route(user)
        if question.kind == SCRAM:
            return self._provable(user.hash, question, route)
        if self._is_locked(user.hash):
            self._spend(question)
            return Refused(route)
        fitting = self._proven(user.hash, question, route)
        return Refused(route) if fitting is None else Authenticated(fitting)

    def lookup(self, namespace: str, name: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        user = self._users.find(namespace, name)
        return None if user is None else KnownUser(self._route(user), locked=self._is_locked(user.hash))

    def _route(self, user: User) -> Route:
        if user.route.target is None and self._fill is not None:
            return user.route._replace(target=self._fill(user.name))
        return user.route

    def _is_locked(self, stored: str) -> bool:
        try:
            return passwords.form_of(stored) == passwords.LOCKED
        except passwords.UnknownForm as error:
            raise ModuleFailed(f"{self._path}: {error}") from None

    def _spend(self, question: Question) -> None:
        stored = self._decoy(question)
        if stored is not None and question.kind == PASSWORD:
            self._proven(stored, question, _NOWHERE)

    def _decoy(self, question: Question) -> str | None:
        return self._users.decoys.drawn(key_of(question.namespace, question.user))

    def _provable(self, stored: str, question: Question, route: Route) -> Provable:
        locked = self._is_locked(stored)
        found = None if locked else self._understood(lambda: provable(stored, question, route))
        return found or Provable(self._shown(question), route, locked=locked)

    def _shown(self, question: Question) -> ScramKeys:
        """The keys that somebody is shown who has none."""
        stored = self._decoy(question)
        return self._understood(lambda: shown_to_nobody(stored, question))

    def _proven(self, stored: str, question: Question, route: Route) -> Route | None:
        return self._understood(lambda: proven(stored, question, route))

    def _understood(self, made: Callable[[], _Made]) -> _Made:
        try:
            return made()
        except (passwords.UnknownForm, passwords.CannotVerify) as error:
            raise ModuleFailed(f"{self._path}: {error}") from None
