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

from popular.pdm import linefile
from popular.pdm.contract import Answer, KnownUser, Module, ModuleFailed, Question
from popular.pdm.proving import takes_with
from popular.pdm.target import filled
from popular.pdm.userfile import Users
from popular.pdm.userlist import UserList


class Passwd(Module):
    """The users of one file, as it was when it was read."""

    local = True
    by_address = False

    def __init__(self, ident: str, arguments: Sequence[str], path: str | None = None) -> None:
        words, strict = linefile.split_strict(arguments)
        if len(words) not in (1, 2):
            raise ModuleFailed(f"passwd: FILE [TARGET] [strict] is wanted, and not {len(words)} words beside strict")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._path = path or os.path.abspath(words[0])
        fill = filled("passwd", words[1]) if len(words) == 2 else None
        users = Users(self._path, strict)
        self._list = UserList(self._path, users, fill)
        self.notes = users.faults.notes()
        self.skipped = users.faults.count
        self.knows_nobody = not users.number
        self.files = {self._path: users.status}
        self.ended = users.ended
        self.takes = takes_with(users.forms)

    def check(self, question: Question) -> Answer:
        """The user's line, if there is one, and whether the password fits its hash. Raises ModuleFailed."""
        return self._list.check(question)

    def lookup(self, namespace: str, user: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        return self._list.lookup(namespace, user)

    def reload(self) -> "Passwd":
        """The file, read anew."""
        return Passwd(self.ident, self.arguments, self._path)


def open_module(ident: str, arguments: Sequence[str]) -> Passwd:
    """See the top of this file."""
    return Passwd(ident, arguments)
