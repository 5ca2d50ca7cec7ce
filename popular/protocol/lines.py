"""Cuts a byte stream into lines, with a limit that counts before the line end is seen.

A line ends at LF; one CR before it belongs to the line end. A NUL octet anywhere, or a line over the limit, is a
fault of the peer (`PeerFault`): the caller ends the session. Lines in front of the fault are still handed out first.
"""

LONGEST_COMMAND = 255
"""Octets of a command line with its CRLF that a server must accept (RFC 2449 section 4)."""

LONGEST_REPLY = 512
"""Octets of a first response line with its CRLF (RFC 1939 section 3)."""


class PeerFault(Exception):
    """The other side broke the rules in a way that ends the conversation."""


class NullByte(PeerFault):
    """A NUL octet in the input (the manual's security chapter: drop at once and silently)."""


class LineTooLong(PeerFault):
    """No line end within the limit."""


class LineBuffer:
    """Holds what came in and was not yet a whole line. Never holds a NUL."""

    __slots__ = ("_bytes", "limit")

    def __init__(self, limit: int = LONGEST_COMMAND) -> None:
        self.limit = limit
        self._bytes = b""

    def __len__(self) -> int:
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        """Adds what was read. A NUL and all that follows it are kept back until the lines before it are taken."""
        self._bytes += data

    def next_line(self) -> bytes | None:
        """The next line without its end, or None if there is no whole one yet.

        Raises NullByte, LineTooLong.
        """
        held = self._bytes
        if not held:
            return None
        end = held.find(b"\n", 0, self.limit)
        if end < 0:
            if b"\0" in held[: self.limit]:
                raise NullByte
            if len(held) >= self.limit:
                raise LineTooLong
            return None
        line = held[:end]
        if b"\0" in line:
            raise NullByte
        self._bytes = held[end + 1 :]
        return line[:-1] if line.endswith(b"\r") else line

    def take_rest(self) -> bytes:
        """Everything not yet cut into lines, byte for byte; the buffer is empty afterwards."""
        rest, self._bytes = self._bytes, b""
        return rest
