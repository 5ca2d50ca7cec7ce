"""The contract between the proxy and an authentication module.

A module named NAME is a Python module file `libpdm_NAME` (source or compiled) in the directory `pdmdir`. It has one
function,

    open_module(ident: str, arguments: Sequence[str]) -> Module

`ident` is the id that the operator chose, `arguments` are the words behind the module's
name in `pdm add ID MOD ARG ...`. If it cannot start it raises `ModuleFailed` with a text for people.

Two questions are put to a module, and it answers at least one of them. `check`: who is this, where is his mail, is the
password right? `authenticate`: can you vouch for this user, whom another module has found but would not let in?

A module never sees the connection, and never writes a secret anywhere: not into a text, not into a log. One object is
asked from several threads at once, so it changes nothing in itself while it answers.
"""

import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol, TypeAlias

_MASK = "****"


class Secret:
    """A password. Shows itself only to those who ask by name (`reveal`).

    Its texts are always four stars, whatever its length; it can be neither pickled nor copied nor used as a key.
    """

    __slots__ = ("_octets",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """The octets, as the client typed them or the file has them."""
        return self._octets

    def equals(self, octets: bytes) -> bool:
        """Whether these are the octets, in a time that does not tell how many of them are right."""
        return hmac.compare_digest(self._octets, octets)

    def __eq__(self, other: object) -> bool:
        return self.equals(other._octets) if isinstance(other, Secret) else NotImplemented

    def __repr__(self) -> str:
        return f"Secret({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, _spec: str) -> str:
        return _MASK

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is neither pickled nor copied")


class Question(NamedTuple):
    """What is known of a client when it has sent its password.

    `client_ip` is text, IPv4 or IPv6; `protocol` is "POP3" or "POP3s"; `namespace` and `vserv` are ids.
    `certificate_name` is from the client's verified certificate, "" if it showed none: its first e-mail address or host
    name (subjectAltName), else its common name. It vouches for nothing unless the module says so.
    """

    client_ip: str
    protocol: str
    namespace: str
    user: str
    password: Secret
    vserv: str
    certificate_name: str = ""


class Route(NamedTuple):
    """Where a user's mail is.

    `target` is the mailbox for an XPOP or CXPOP backend, and the user name for a POP3 backend; None = the client's own
    name. `secret` is the password for a POP3 backend; None = the client's own, which no backend is sent where another
    module vouched for the user (it is not his own then). `flags` are XPOP flag letters, as "M".
    """

    backend: str
    target: str | None = None
    secret: Secret | None = None
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such user here.

    `decoy`, if given, does the work that the password of a known user would have cost, and throws the result away. It
    is called at most once, and only if no module knows the user: so the time of the answer does not tell who exists.
    Where several modules offer one, that of the smallest `rank` is called, the first among equals. A module that knows
    N users draws the rank from the name, exponentially with the rate N: then each is called as often as it has users.

    `second_round`, if given, does the work that `authenticate` would have cost here, had another module refused this
    user. It is called, whoever else is, if no module knows the user.
    """

    decoy: Callable[[], object] | None = None
    rank: float = 0.0
    second_round: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The user is known and may come in; his mail is there."""

    route: Route


@dataclass(frozen=True, slots=True)
class Refused:
    """The user is known, and his mail is there, but with this password he may not come in."""

    route: Route


Answer: TypeAlias = Unknown | Authenticated | Refused

UNKNOWN = Unknown()
"""The answer of a module that does no work for the users it knows."""


class ModuleFailed(Exception):
    """The module cannot answer, or not start. The text is for people and holds no secret.

    To the client this is "[SYS/TEMP] try again later", never "wrong password".
    """


class Module(Protocol):
    """One authentication module, ready to answer. Derive from it to get the defaults."""

    ident: str
    """The id that the operator gave it."""

    arguments: Sequence[str]
    """What it was opened with."""

    blocking: bool = True
    """Whether an answer may wait, or take long. Then it is asked in a thread, never on the event loop."""

    flags: str = ""
    """XPOP flag letters that a session gets when this module vouched for a user that another one found."""

    notes: Sequence[str] = ()
    """What the operator should know of it, a line each and without secrets; told when it is opened or reloaded."""

    skipped: int = 0
    """How many lines of its files are bad and skipped."""

    files: Mapping[str, os.stat_result] = {}
    """The files that it is made of, by path, each with what fstat(2) said when it was read; the proxy reloads the
    module when one is another. Never changed.
    """

    def check(self, question: Question) -> Answer:
        """Who is this, and may he in? Raises ModuleFailed if it cannot tell."""
        del question
        return UNKNOWN

    def authenticate(self, question: Question, route: Route) -> bool:
        """Whether this user, whom another module found with this route, may come in. False is "not by me".

        Asked in the second round only. Raises ModuleFailed if it cannot tell.
        """
        del question, route
        return False

    def reload(self) -> "Module":
        """A successor made from the same arguments, with files and connections opened anew.

        The old one goes on answering until the new one is in force, so that a reload that fails changes nothing. It may
        read files, as open_module may: neither is for the event loop. Raises ModuleFailed.
        """
        ...

    def close(self) -> None:
        """Gives back what it holds. Called once, when no question is under way any more."""
        return
