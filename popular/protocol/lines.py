"""Cuts a byte stream into lines, with a limit that counts before the line end is seen.

A line ends at LF; one CR before it belongs to the line end. A NUL octet anywhere, or a line over the limit, is a
fault of the peer (`PeerFault`): the caller ends the session. Lines in front of the fault are still handed out first.
"""

from supervisor.octets import find, part

_CR, _LF = 13, 10
_BLANKS = b" \t\n\r\v\f"
LONGEST_COMMAND = 255
"""Octets of a command line with its CRLF that a server must accept (RFC 2449 section 4)."""

LONGEST_REPLY = 512
"""Octets of a first response line with its CRLF (RFC 1939 section 3)."""


class PeerFault(Exception):
    """The other side broke the rules in a way that ends the conversation."""


class NullByte(PeerFault):
    """A NUL octet in the input: the connection is dropped at once and without a reply, as POPular 1.5 did."""


class LineTooLong(PeerFault):
    """No line end within the limit."""


def is_ok(line: bytes) -> bool:
    """Whether a reply line is positive: `+OK` and nothing, or a blank, after it."""
    return line.startswith(b"+OK") and (len(line) == 3 or line[3] in _BLANKS)


def single_line(data: bytes) -> int:
    """How long the line is, without its CRLF, that `data` is the whole of; -1: it is none, or more than one."""
    end = len(data) - 2
    return end if end >= 0 and data[end] == _CR and find(data, _LF) == end + 1 else -1


class LineBuffer:
    """Holds what came in and was not yet a whole line. Never holds a NUL."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int = LONGEST_COMMAND) -> None:
        self.limit = limit
        self.held = b""
        """What has come and was not yet taken."""

    def __len__(self) -> int:
        return len(self.held)

    def feed(self, data: bytes) -> None:
        """Adds what was read. A NUL and all that follows it are kept back until the lines before it are taken."""
        self.held = self.held + data if self.held else data

    def next_line(self, data: bytes = b"") -> bytes | None:
        """The next line without its end, or None if there is no whole one yet. `data` was read just now, see `feed`.

        Raises NullByte, LineTooLong; then nothing is taken.
        """
        held = self.held
        if data:
            self.held = held = held + data if held else data
        end = find(held, _LF)
        length = len(held) if end < 0 else end
        null = find(held, 0)
        if length >= self.limit or 0 <= null < length:
            raise NullByte if 0 <= null < min(length, self.limit) else LineTooLong
        if end < 0:
            return None
        self.held = part(held, end + 1, len(held))
        return part(held, 0, end - 1 if end and held[end - 1] == _CR else end)

    def take_rest(self) -> bytes:
        """Everything not yet cut into lines, byte for byte; the buffer is empty afterwards."""
        rest, self.held = self.held, b""
        return rest
