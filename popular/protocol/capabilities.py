"""What CAPA answers (RFC 2449), before and after login.

The proxy answers before login and the storage server after it, so both are configured with fixed lists. What may be
used before login must also be listed after it, except what only makes sense before (STLS).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from popular.protocol import international
from popular.protocol.lines import LONGEST_REPLY

DEFAULT = ("TOP", "USER", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION POPular")
"""For a virtual server without a capability set of its own."""

STLS, USER, SASL = "STLS", "USER", "SASL"
_LOGIN_DELAY = "LOGIN-DELAY"
_ONLY_BEFORE_LOGIN = frozenset({STLS})
_ONLY_WITH_LOGIN = frozenset({USER, "PIPELINING"})
"""Not offered where STLS has to come first: a client that pipelines would send its password after its name, in clear,
before it hears that it must not; and nothing may be pipelined after STLS anyway (RFC 2595 section 4)."""

OURS = frozenset(
    {STLS, USER, SASL, _LOGIN_DELAY, "RESP-CODES", "AUTH-RESP-CODE", "IMPLEMENTATION", *international.TAGS}
)
"""What a proxy keeps itself, or knows to say by itself, whatever servers are behind it."""

_END = b".\r\n"

MOST_OCTETS = 4096
"""How long a whole set may be: the answer to CAPA is kept in memory for every vserv."""
_LONGEST_LINE = LONGEST_REPLY - 2
_CAPABILITY = re.compile(r"[!-\-/-~]+( [!-~]+)*")
"""A tag without dots, and arguments (RFC 2449 section 3)."""


class BadCapabilities(Exception):
    """A file is no list of capabilities; the text says which line, and what is allowed."""


def read_lines(content: bytes) -> tuple[str, ...]:
    """The capabilities of a file, one a line. Raises BadCapabilities."""
    if len(content) > MOST_OCTETS:
        raise BadCapabilities(f"the file is too long; allowed: {MOST_OCTETS} octets")
    lines: list[str] = []
    tags: set[str] = set()
    for number, octets in enumerate(content.split(b"\n"), start=1):
        text = octets.removesuffix(b"\r").decode("latin-1")
        if not text.strip(" \t"):
            continue
        if len(text) > _LONGEST_LINE or not _CAPABILITY.fullmatch(text):
            raise BadCapabilities(
                f"line {number} is not a capability; allowed: printable ASCII, {_LONGEST_LINE} octets, no dot in front"
            )
        tag = text.split(" ")[0].upper()
        if tag in tags:
            raise BadCapabilities(f"line {number}: {tag} is there twice")
        tags.add(tag)
        lines.append(text)
    if not lines:
        raise BadCapabilities("the file holds no capability")
    return tuple(lines)


LONGEST_LIST = 8192
"""Octets of another server's whole answer, its greeting included: who says more is not listened to."""


def is_capability(text: str) -> bool:
    """Whether a line of a list may be one: nothing else is kept of what another server says."""
    return _CAPABILITY.fullmatch(text) is not None


def answer(lines: Sequence[str]) -> bytes:
    """The complete multi-line reply."""
    return "\r\n".join(("+OK capability list follows", *lines, ".", "")).encode("ascii")


def with_logins(lines: Sequence[str], *, user: bool, mechanisms: Sequence[str]) -> tuple[str, ...]:
    """A set with the ways to log in that there are, whatever it says itself of them. `user`: USER and PASS."""
    kept = [line for line in lines if _tag(line) != SASL and (user or _tag(line) != USER)]
    return (*kept, " ".join((SASL, *mechanisms))) if mechanisms else tuple(kept)


def with_lines(said: bytes, more: Sequence[str]) -> bytes:
    """A complete reply, with more lines at its end."""
    return b"".join((said[: -len(_END)], *(f"{line}\r\n".encode("ascii") for line in more), _END)) if more else said


def without_international(lines: Sequence[str]) -> tuple[str, ...]:
    """A set without UTF8 and LANG: whether they can be offered is another server's to say."""
    return tuple(line for line in lines if _tag(line) not in international.TAGS)


def international_in(lines: Sequence[str]) -> frozenset[str]:
    """Which of the two a set names."""
    return international.TAGS.intersection(map(_tag, lines))


def _tag(line: str) -> str:
    return line.partition(" ")[0].upper()


def with_login_delay(lines: Sequence[str], seconds: int) -> tuple[str, ...]:
    """The list, announcing the least time from one login of a user to his next (RFC 2449 section 6.5)."""
    return (*(line for line in lines if _tag(line) != _LOGIN_DELAY), f"{_LOGIN_DELAY} {seconds}")


class Common(NamedTuple):
    """What servers announce in common, beside OURS."""

    lines: tuple[str, ...] | None = None
    """None: no server has told anything yet."""
    all_told: bool = False
    """All of them have."""


NOBODY_KNOWS = Common()


def common(announced: Iterable[Sequence[str] | None]) -> Common:
    """What several servers announce in common; None is one that has not told yet. Lines that differ are of none."""
    found: dict[str, str] | None = None
    all_told = True
    for lines in announced:
        if lines is None:
            all_told = False
            continue
        said = {line.upper(): line for line in lines if _tag(line) not in OURS}
        found = said if found is None else {key: line for key, line in found.items() if key in said}
    return NOBODY_KNOWS if found is None else Common(tuple(found.values()), all_told)


def as_common(lines: Sequence[str], shared: Common) -> tuple[str, ...]:
    """A set as servers keep it: without what one of them is known to lack, and with what all are known to have."""
    if shared.lines is None:
        return tuple(lines)
    had = {line.upper() for line in shared.lines}
    kept = [line for line in lines if _tag(line) in OURS or line.upper() in had]
    said = {line.upper() for line in kept}
    return (*kept, *(line for line in shared.lines if shared.all_told and line.upper() not in said))


def before_login(lines: Sequence[str], *, stls: bool, login: bool) -> bytes:
    """The list in the AUTHORIZATION state, with STLS if it may be used. `login`: whether a client may log in now."""
    left_out = _ONLY_BEFORE_LOGIN if login else _ONLY_BEFORE_LOGIN | _ONLY_WITH_LOGIN
    kept = [line for line in lines if _tag(line) not in left_out]
    return answer([*kept, STLS] if stls else kept)


def after_login(lines: Sequence[str]) -> tuple[str, ...]:
    """The list in the TRANSACTION state."""
    return tuple(line for line in lines if _tag(line) not in _ONLY_BEFORE_LOGIN)


def mechanism_list(mechanisms: Sequence[str]) -> bytes:
    """The answer to AUTH without a mechanism, as servers from before RFC 5034 have it and Outlook asks."""
    return "\r\n".join(("+OK mechanisms follow", *mechanisms, ".", "")).encode("ascii")
