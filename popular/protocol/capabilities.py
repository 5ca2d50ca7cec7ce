"""What CAPA answers (RFC 2449), before and after login.

The proxy answers before login and the storage server after it, so both are configured with fixed lists (the manual's
chapter on capabilities). What may be used before login must also be listed after it, except what only makes sense
before (STLS).
"""

from collections.abc import Sequence

DEFAULT = ("TOP", "USER", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION POPular")
"""For a virtual server without a capability set of its own."""

STLS = "STLS"
_ONLY_BEFORE_LOGIN = frozenset({STLS})


def answer(lines: Sequence[str]) -> bytes:
    """The complete multi-line reply."""
    return "\r\n".join(("+OK capability list follows", *lines, ".", "")).encode("ascii")


def before_login(lines: Sequence[str], *, stls: bool, user: bool) -> bytes:
    """The list in the AUTHORIZATION state: with STLS if it may be used now, and USER only if it may."""
    kept = [line for line in lines if line not in _ONLY_BEFORE_LOGIN and (user or line != "USER")]
    return answer([*kept, STLS] if stls else kept)


def after_login(lines: Sequence[str]) -> tuple[str, ...]:
    """The list in the TRANSACTION state."""
    return tuple(line for line in lines if line not in _ONLY_BEFORE_LOGIN)
