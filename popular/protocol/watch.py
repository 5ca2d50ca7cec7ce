"""Watches what a logged-in client sends, without holding it up: has it sent QUIT, how many deletions are not yet
committed?

In the TRANSACTION state every line is a command, so it is enough to look at the first four octets of each line.
Deletions take effect only when QUIT is answered (RFC 1939 section 6), so nobody should be cut in between, and who has
none can be cut without harm.
"""

from popular.protocol.lines import NullByte

_LOOK = 4


class CommandWatch:
    """Sees the client's stream piece by piece. `quit` once QUIT was sent; `deletes` since login or RSET."""

    __slots__ = ("_line", "deletes", "quit")

    def __init__(self) -> None:
        self.quit = False
        self.deletes = 0
        self._line = b""
        """The beginning of the line that is not finished yet, at most four octets."""

    def see(self, data: bytes) -> None:
        """Looks at the next piece. Raises NullByte."""
        if 0 in data:
            raise NullByte
        if not self._line and data.find(b"\n") == len(data) - 1:
            # Nearly always: one command, whole.
            self._command(data[:_LOOK].upper())
            return
        lines = data.split(b"\n")
        lines[0] = self._line + lines[0][:_LOOK]
        self._line = lines.pop()[:_LOOK]
        for line in lines:
            self._command(line[:_LOOK].upper())

    def _command(self, verb: bytes) -> None:
        if verb == b"QUIT":
            self.quit = True
        elif verb == b"DELE":
            self.deletes += 1
        elif verb == b"RSET":
            self.deletes = 0
