"""The module `any BACKEND [TARGET]`: knows everyone, and lets everyone in with any password.

For sites where the backend does the checking: towards a POP3 backend, the client's own name (or TARGET) and the
client's own password are passed on. In TARGET, `%u` is the user name as given, `%n` the part before its last '@' (all
of it, if there is none), `%d` the part behind (or nothing), and `%%` a percent sign.

It never waits, and never looks at the password. What it makes of a name is not checked here: a target that is no good
as a mailbox (`../x`) is the proxy's to refuse.
"""

import re
from collections.abc import Callable, Sequence

from popular.pdm.contract import Answer, Authenticated, Module, ModuleFailed, Question, Route

PLACEHOLDERS = {"u": "{0}", "n": "{1}", "d": "{2}", "%": "%"}
"""What may follow a percent sign in TARGET, and its place in a format string."""

_BACKEND = re.compile(r"[A-Za-z0-9_.-]+")
_PIECES = re.compile(r"%(.?)|([^%]+)", re.DOTALL)


class Any(Module):
    """Knows everyone."""

    blocking = False

    def __init__(self, ident: str, arguments: Sequence[str]) -> None:
        if len(arguments) not in (1, 2):
            raise ModuleFailed(f"any: one or two arguments are wanted (BACKEND [TARGET]), not {len(arguments)}")
        self.ident = ident
        self.arguments = tuple(arguments)
        self._backend = _checked_backend(arguments[0])
        self._fill = _compiled(arguments[1]) if len(arguments) == 2 else None
        self._same_for_all = Authenticated(Route(self._backend))

    def check(self, question: Question) -> Answer:
        """Authenticated, always."""
        if self._fill is None:
            return self._same_for_all
        user = question.user
        name, at, domain = user.rpartition("@")
        return Authenticated(Route(self._backend, self._fill(user, name, domain) if at else self._fill(user, user, "")))

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


def _compiled(target: str) -> Callable[[str, str, str], str]:
    """TARGET as a function of %u, %n and %d: the template is read once, and a name is never read as one."""
    if not target:
        raise ModuleFailed("any: TARGET is empty; leave it out to pass the client's own name on")
    shape = ""
    for match in _PIECES.finditer(target):
        letter, text = match.groups()
        if text is not None:
            shape += text.replace("{", "{{").replace("}", "}}")
        elif letter in PLACEHOLDERS:
            shape += PLACEHOLDERS[letter]
        else:
            raise ModuleFailed(f"any: '%{letter}' in TARGET '{target}' means nothing: %u, %n, %d and %% are allowed")
    return shape.format
