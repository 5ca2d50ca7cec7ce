"""Lets in the users of a list: finds one, sees whether the password fits, spends a decoy on those who are not in it.

The list is whatever finds users and has decoys: a text file (`userfile.py`) or a cdb (`usercdb.py`).
"""

from functools import partial
from typing import Protocol

from popular.pdm import passwords
from popular.pdm.contract import (
    PASSWORD,
    UNKNOWN,
    Answer,
    Authenticated,
    KnownUser,
    ModuleFailed,
    Question,
    Refused,
    Route,
    Unknown,
)
from popular.pdm.decoys import Decoys
from popular.pdm.proving import proven
from popular.pdm.target import Fill
from popular.pdm.userfile import User, key_of

_NOWHERE = Route("")


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
        if user is None and question.kind != PASSWORD:
            return UNKNOWN  # nothing is computed of those who are known
        if user is None:
            rank = self._users.decoys.rank(key_of(question.namespace, question.user))
            return Unknown(partial(self._spend, question), rank) if rank is not None else UNKNOWN
        route = self._route(user)
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
        stored = self._users.decoys.drawn(key_of(question.namespace, question.user))
        if stored is not None and question.kind == PASSWORD:
            self._proven(stored, question, _NOWHERE)

    def _proven(self, stored: str, question: Question, route: Route) -> Route | None:
        try:
            return proven(stored, question, route)
        except (passwords.UnknownForm, passwords.CannotVerify) as error:
            raise ModuleFailed(f"{self._path}: {error}") from None
