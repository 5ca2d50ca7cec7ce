"""TARGET with placeholders, as the modules `any` and `passwd` take it: the mailbox, or the name on the backend.

`%u` is the user name as given, `%n` the part before its last '@' (all of it, if there is none), `%d` the part after
(or nothing), and `%%` a percent sign. So `%d/%n` makes the mailbox example.org/joe of joe@example.org.

What comes of it is not checked here: a target that is no good as a mailbox (`../x`) is the proxy's to refuse.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

from popular.pdm.contract import ModuleFailed

PLACEHOLDERS = {"u": "{0}", "n": "{1}", "d": "{2}", "%": "%"}
"""What may follow a percent sign in TARGET, and its place in a format string."""

Fill: TypeAlias = Callable[[str], str]
"""A user name → the target."""

_PIECES = re.compile(r"%(.?)|([^%]+)", re.DOTALL)


def names_user(text: str) -> bool:
    """Whether these placeholders tell one user from another: what has none of his name is everybody's."""
    return any(match[1] in ("u", "n") for match in _PIECES.finditer(text))


def filled(module: str, target: str) -> Fill:
    """TARGET as a function: it is read once, and a name is never read as one. Raises ModuleFailed for this module."""
    if not target:
        raise ModuleFailed(f"{module}: TARGET is empty; leave it out to pass the client's own name on")
    shape = ""
    for match in _PIECES.finditer(target):
        letter, text = match.groups()
        if text is not None:
            shape += text.replace("{", "{{").replace("}", "}}")
        elif letter in PLACEHOLDERS:
            shape += PLACEHOLDERS[letter]
        else:
            raise ModuleFailed(
                f"{module}: '%{letter}' in TARGET '{target}' means nothing: %u, %n, %d and %% are allowed"
            )

    def fill(user: str) -> str:
        name, at, domain = user.rpartition("@")
        return shape.format(user, name if at else user, domain if at else "")

    return fill
