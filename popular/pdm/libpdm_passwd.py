"""The module `passwd FILE [TARGET] [strict]`: users, their passwords and their mailboxes in a text file.

One user a line (`#` and empty lines: see `linefile.py`):

    NAMESPACE:USER:HASH:BACKEND:TARGET[:SECRET]

HASH is any form that `passwords.py` knows. TARGET is the mailbox (XPOP, CXPOP) or the user name on the backend (POP3);
empty = that of the argument TARGET, in which `%u`, `%n` and `%d` are the user's name and its parts (see `target.py`),
or the client's own name if there is none. SECRET is the password on the backend; empty or absent = the client's own.
There is no escaping: only SECRET may hold a colon, and a plain password with a colon is written `{PLAIN.b64}` or
`{PLAIN.hex}`.

The file is read when the module is opened or reloaded; the proxy reloads it when the file has changed. A bad or doubled
line is skipped and told with its number; with `strict` it is a `ModuleFailed`, and then nothing of the file is used.

A user who is not in the file costs as much as one who is: he gets a decoy, a hash of one of the forms in the file, each
as often as the file has it, and the same name always the same form. So neither the time of an answer nor its spread
tells who exists. Where several such modules are asked, the decoy is that of one of them, of each as often as it has
users. The module takes no part in the second round: it vouches for its own users only, in the first.
"""

import os
from collections.abc import Sequence
from functools import partial

from popular.pdm import linefile, passwords
from popular.pdm.contract import (
    UNKNOWN,
    Answer,
    Authenticated,
    Module,
    ModuleFailed,
    Question,
    Refused,
    Secret,
    Unknown,
)
from popular.pdm.target import filled
from popular.pdm.userfile import Users


class Passwd(Module):
    """The users of one file, as it was when it was read."""

    def __init__(self, ident: str, arguments: Sequence[str], path: str | None = None) -> None:
        words, strict = linefile.split_strict(arguments)
        if len(words) not in (1, 2):
            raise ModuleFailed(f"passwd: FILE [TARGET] [strict] is wanted, and not {len(words)} words beside strict")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._path = path or os.path.abspath(words[0])
        self._fill = filled("passwd", words[1]) if len(words) == 2 else None
        self._users = Users(self._path, strict)
        self.notes = self._users.faults.notes()
        self.skipped = self._users.faults.count
        self.files = {self._path: self._users.status}

    def check(self, question: Question) -> Answer:
        """The user's line, if there is one, and whether the password fits its hash. Raises ModuleFailed."""
        user = self._users.find(question.namespace, question.user)
        if user is None:
            rank = self._users.rank(question.namespace, question.user)
            return Unknown(partial(self._spend, question), rank) if rank is not None else UNKNOWN
        route = user.route
        if route.target is None and self._fill is not None:
            route = route._replace(target=self._fill(question.user))
        if passwords.form_of(user.hash) == passwords.LOCKED:
            self._spend(question)
            return Refused(route)
        return Authenticated(route) if self._fits(user.hash, question.password) else Refused(route)

    def reload(self) -> "Passwd":
        """The file, read anew."""
        return Passwd(self.ident, self.arguments, self._path)

    def _spend(self, question: Question) -> None:
        stored = self._users.decoy(question.namespace, question.user)
        if stored is not None:
            self._fits(stored, question.password)

    def _fits(self, stored: str, password: Secret) -> bool:
        try:
            return passwords.verify(stored, password.reveal())
        except (passwords.UnknownForm, passwords.CannotVerify) as error:
            raise ModuleFailed(f"{self._path}: {error}") from None


def open_module(ident: str, arguments: Sequence[str]) -> Passwd:
    """See the top of this file."""
    return Passwd(ident, arguments)
