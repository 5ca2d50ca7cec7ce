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
_ONLY_WITH_LOGIN = frozenset({"USER", "PIPELINING"})
"""Not offered where STLS has to come first: a client that pipelines would send its password behind its name, in clear,
before it hears that it must not; and nothing may be pipelined behind STLS anyway (RFC 2595 section 4)."""


def answer(lines: Sequence[str]) -> bytes:
    """The complete multi-line reply."""
    return "\r\n".join(("+OK capability list follows", *lines, ".", "")).encode("ascii")


def before_login(lines: Sequence[str], *, stls: bool, login: bool) -> bytes:
    """The list in the AUTHORIZATION state, with STLS if it may be used. `login`: whether a client may log in now."""
    left_out = _ONLY_BEFORE_LOGIN if login else _ONLY_BEFORE_LOGIN | _ONLY_WITH_LOGIN
    kept = [line for line in lines if line not in left_out]
    return answer([*kept, STLS] if stls else kept)


def after_login(lines: Sequence[str]) -> tuple[str, ...]:
    """The list in the TRANSACTION state."""
    return tuple(line for line in lines if line not in _ONLY_BEFORE_LOGIN)
