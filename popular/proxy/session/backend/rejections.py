"""Why a backend rejects a login: for something of the user's, of his mailbox, or of its own. Pure.

The response code decides (RFC 2449 section 8, RFC 3206), and the words only where it is silent or too wide:

    [SYS/TEMP], [SYS/PERM]     the backend's
    [IN-USE], [LOGIN-DELAY]    the mailbox's: neither a wrong password nor a fault, the client may come again
    [AUTH]                     the user's: a wrong name or password
    another code, or none      the user's; but see UnexplainedRejections

Of a backend that was told a password of ours, or none (XPOP), the user's part is the backend's. So is a rejection in
the greeting, where nobody was named yet, and one whose words want TLS on a connection in clear: it rejects how we come.
"""

import enum
import re

from popular.protocol.replies import OF_THE_SERVER, Code
from popular.proxy.session.backend.backend_login import GREETING, Rejected

WANTS_TLS = re.compile(
    rb"(?<![\w.@-])(?:STLS|STARTTLS|TLS|SSL|plain-? ?text|clear-? ?text|encrypt\w*|secure (?:connection|channel))\b",
    re.IGNORECASE,
)
"""Such as Dovecot's "[AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections."."""

DEFERRALS = {Code.IN_USE: "in_use", Code.LOGIN_DELAY: "login_delay"}
"""Codes by which a mailbox is not to be had just now, in the words of the counter."""


OWN_WORDS = {
    Code.AUTH: "the user name or the password is wrong",
    Code.IN_USE: "the mailbox is in use by another session",
    Code.LOGIN_DELAY: "the mailbox was asked too soon after the last time",
    Code.SYS_TEMP: "the mailbox cannot be reached at the moment, please try again later",
    Code.SYS_PERM: "the mailbox cannot be opened, please ask your postmaster",
}
"""What a client is told, whoever has refused it: it learns nothing from a backend's own words."""


class Cause(enum.Enum):
    """Why a backend rejects a login."""

    USER = enum.auto()
    """By the backend's own word."""
    USER_UNSAID = enum.auto()
    """Likely: the backend does not say why."""
    MAILBOX = enum.auto()
    BACKEND = enum.auto()
    TLS = enum.auto()
    """The backend's: it takes no password in clear."""


def cause_of(rejected: Rejected, code: Code | None, *, in_clear: bool, of_user: bool, user: str) -> Cause:
    """Why it was rejected. `code`: what its response code means to us; `in_clear`: there is no TLS with the
    backend; `of_user`: it was told the user's own password; `user`: the name that it was told, which it may repeat.
    """
    if code in DEFERRALS and rejected.step != GREETING:
        return Cause.MAILBOX
    if not (rejected.of_login and of_user) or code in OF_THE_SERVER:
        return Cause.BACKEND
    if in_clear and WANTS_TLS.search(rejected.reply) and not WANTS_TLS.search(user.encode()):
        return Cause.TLS
    return Cause.USER if code is Code.AUTH else Cause.USER_UNSAID


def word_of(rejected: Rejected, code: Code | None, cause: Cause) -> str:
    """The word of backend_login.FAILURES for a rejection of which the backend is the cause."""
    if cause is Cause.TLS:
        return "tls"
    by_code = code in OF_THE_SERVER and rejected.step != GREETING
    return "refused" if by_code else rejected.word


ENOUGH = 5
"""Users that a backend rejects in a row, none let in between, before it is said to reject everybody."""
_PLACES = 1 << 16
_LAST_PLACE = _PLACES - 1


class UnexplainedRejections:
    """One backend's rejections that do not say why: are the passwords wrong, or does it reject everybody?

    It does if it has rejected ENOUGH different users in a row whom it had let in before. Somebody who guesses passwords
    for names of his own making proves nothing: strangers count only while the backend has let in nobody at all. Users
    are remembered by one octet each in a field of 64 KiB: memory is bounded, and a few strangers pass for known.
    """

    __slots__ = ("_consecutive", "_known", "_nobody")

    def __init__(self) -> None:
        self._known = bytearray(_PLACES)
        self._nobody = True
        self._consecutive: set[str] = set()
        """Users rejected one after the other, nobody let in between."""

    def note_success(self, user: str) -> None:
        """The backend did, with his own password."""
        self._known[_place_of(user)] = 1
        self._nobody = False
        if self._consecutive:
            self._consecutive.clear()

    def rejected(self, user: str) -> None:
        """The backend did, and does not say why."""
        if len(self._consecutive) < ENOUGH and (self._nobody or self._known[_place_of(user)]):
            self._consecutive.add(user)

    @property
    def of_everybody(self) -> bool:
        return len(self._consecutive) >= ENOUGH


def _place_of(user: str) -> int:
    return hash(user) & _LAST_PLACE
