"""What the operator is told of a reply that is none: what was heard, as far as it may be seen."""

from popular.protocol.lines import LONGEST_REPLY, NullByte, PeerFault
from popular.protocol.printable import printable

_SHOWN = 60
"""Octets of a line: by its beginning one knows another protocol."""


def said(line: bytes) -> str:
    """The line itself. Never to be asked of what may hold a password: a server may repeat what it was told."""
    shown = printable(line[:_SHOWN].decode("utf-8", "backslashreplace"))
    if not shown:
        return "it said an empty line"
    return f"it said: {shown}{' …' if len(line) > _SHOWN else ''}"


def fault(error: PeerFault) -> str:
    """What was no line at all."""
    return "it sent a NUL" if isinstance(error, NullByte) else f"a line of more than {LONGEST_REPLY} octets"
