"""Builds reply lines: `+OK`, `-ERR`, response codes, and the 512 octets they may have."""

import enum

from popular.protocol.lines import LONGEST_REPLY, is_ok

_CRLF = 2


class Code(enum.Enum):
    """Response codes (RFC 2449 section 8, RFC 3206)."""

    AUTH = "AUTH"
    IN_USE = "IN-USE"
    LOGIN_DELAY = "LOGIN-DELAY"
    SYS_TEMP = "SYS/TEMP"
    SYS_PERM = "SYS/PERM"


OF_THE_SERVER = frozenset({Code.SYS_TEMP, Code.SYS_PERM})
"""What says nothing of a password (RFC 3206)."""


def _line(text: str) -> bytes:
    return text.encode("utf-8", "replace")[: LONGEST_REPLY - _CRLF] + b"\r\n"


def ok(text: str = "") -> bytes:
    """A positive reply line; cut at 512 octets."""
    return _line(f"+OK {text}" if text else "+OK")


def err(text: str, code: Code | None = None) -> bytes:
    """A negative reply line, with a response code if there is one; cut at 512 octets."""
    return _line(f"-ERR [{code.value}] {text}" if code else f"-ERR {text}")


_BY_LENGTH = sorted(Code, key=lambda code: len(code.value), reverse=True)


def known_code(code: bytes | None) -> Code | None:
    """What a response code, as `code_of` returns it, means to us.

    Codes have no case, and are hierarchical: one that begins with a known code and goes on is that code said more
    exactly (RFC 2449 section 8). `/` parts the levels; the longest known beginning
    counts, so that `[sys/temp/db]` is SYS/TEMP.
    """
    if code is None:
        return None
    said = code.decode("latin-1").upper()
    for known in _BY_LENGTH:
        if said == known.value or said.startswith(f"{known.value}/"):
            return known
    return None


def code_of(line: bytes) -> bytes | None:
    """The response code of a reply line, without its brackets (`b"SYS/TEMP"`), or None. Unknown codes too."""
    status, _, rest = line.partition(b" ")
    if status not in (b"+OK", b"-ERR") or not rest.startswith(b"["):
        return None
    code, bracket, _ = rest[1:].partition(b"]")
    return code if bracket and code else None


def without_words(line: bytes) -> str:
    """What of a backend's reply cannot be a password, which it may repeat in whatever it says: the status, and a code
    that we know.
    """
    status = "+OK" if is_ok(line) else "-ERR" if line.startswith(b"-ERR") else ""
    code = known_code(code_of(line))
    return f"{status} [{code.value}]" if code is not None else status
