"""The module `any BACKEND [TARGET]`: knows everyone, and lets everyone in with any password.

For sites where the backend does the checking: towards a POP3 backend, the client's own name (or TARGET) and the
client's own password are passed on. In TARGET, `%u` is the user name as given, `%n` the part before its last '@', `%d`
the part after (see `target.py`).

It never waits, and never looks at the password.
"""

import re
from collections.abc import Sequence

from popular.pdm.contract import Answer, Authenticated, KnownUser, Module, ModuleFailed, Question, Route
from popular.pdm.target import filled

_BACKEND = re.compile(r"[A-Za-z0-9_.-]+")


class Any(Module):
    """Knows everyone."""

    blocking = False

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        if len(arguments) not in (1, 2):
            raise ModuleFailed(f"any: one or two arguments are wanted (BACKEND [TARGET]), not {len(arguments)}")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._backend = _checked_backend(arguments[0])
        self._fill = filled("any", arguments[1]) if len(arguments) == 2 else None
        self._same_for_all = Authenticated(Route(self._backend))

    def check(self, question: Question) -> Answer:
        """Authenticated, always."""
        if self._fill is None:
            return self._same_for_all
        return Authenticated(Route(self._backend, self._fill(question.user)))

    def lookup(self, _namespace: str, user: str) -> KnownUser:
        """See `contract.LOOKUP`."""
        return KnownUser(Route(self._backend, self._fill(user) if self._fill is not None else None))

    def reload(self) -> "Any":
        """There is nothing to read anew."""
        return Any(self.ident, self.arguments)


def open_module(ident: str, arguments: Sequence[str]) -> Any:
    """See the top of this file."""
    return Any(ident, arguments)


def _checked_backend(word: str) -> str:
    if not _BACKEND.fullmatch(word):
        raise ModuleFailed(f"any: '{word}' is no backend's id: letters, digits, '_', '-' and '.' are allowed")
    return word
