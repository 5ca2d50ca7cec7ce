"""The module `cdb FILE [TARGET]`: users, their passwords and their mailboxes in a constant database, made by `pcdb`.

For many users: it is open at once, whatever their number, and costs no memory in the workers, which share the file in
the page cache. What it answers is what `passwd` (see there, and for TARGET) answers with the file that it was made
from. A new database takes the place of the old one by a rename; the proxy reloads the module when the file is another.
`user move` makes one by itself (`pdm conf ID moves on`); the file that `pcdb` made it from has to be changed too.
"""

import os
from collections.abc import Sequence

from popular.pdm import cdbchange
from popular.pdm.contract import Answer, KnownUser, Module, ModuleFailed, Question
from popular.pdm.target import filled
from popular.pdm.usercdb import UserCdb
from popular.pdm.userlist import UserList


class CdbModule(Module):
    """The users of one database, as it was when it was opened."""

    local = True
    by_address = False

    def __init__(self, ident: str, arguments: Sequence[str], path: str | None = None) -> None:
        if len(arguments) not in (1, 2):
            raise ModuleFailed(f"cdb: FILE [TARGET] is wanted, and not {len(arguments)} words")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._path = path or os.path.abspath(arguments[0])
        fill = filled("cdb", arguments[1]) if len(arguments) == 2 else None
        self._users = UserCdb(self._path)
        self._list = UserList(self._path, self._users, fill)
        self.notes = self._users.notes
        self.files = {self._path: self._users.status}
        self.takes = self._users.takes
        self.knows_nobody = not self._users.number

    def check(self, question: Question) -> Answer:
        """The user's record, if there is one, and whether the password fits its hash. Raises ModuleFailed."""
        return self._list.check(question)

    def lookup(self, namespace: str, user: str) -> KnownUser | None:
        """See `contract.LOOKUP`."""
        return self._list.lookup(namespace, user)

    def lead(self, namespace: str, user: str, backend: str) -> bool:
        """See `contract.LEAD`: a new database takes the place of this one."""
        known = self._users.find(namespace, user) is not None
        return known and cdbchange.lead(self._path, (namespace, user), backend)

    def reload(self) -> "CdbModule":
        """The file that stands there now."""
        return CdbModule(self.ident, self.arguments, self._path)

    def close(self) -> None:
        """See Module."""
        self._users.close()


def open_module(ident: str, arguments: Sequence[str]) -> CdbModule:
    """See the top of this file."""
    return CdbModule(ident, arguments)
