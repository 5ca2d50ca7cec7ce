"""A message on its way out of a Maildir: read in pieces, its line ends made CRLF, dot-stuffed, ended by its lone dot.

Every call blocks on the disk and is made in a thread, one at a time. What is in memory is one piece, however large the
message is.
"""

from typing import BinaryIO

from popular.protocol.dotstuff import LineEnds, Stuffer, Top
from popular.store.maildir.listing import StoredMessage
from popular.store.maildir.maildir import Maildir

PIECE_OCTETS = 1 << 16
"""Read at a time; most mail is smaller and goes out in one piece."""


class Outgoing:
    """One message that is being sent. `over`: everything has been given; the file is closed then."""

    __slots__ = ("_file", "_line_ends", "_piece", "_stuffer", "_top", "over")

    def __init__(self, maildir: Maildir, message: StoredMessage, lines: int | None) -> None:
        """Opens the message and reads the first piece. `lines`: only so many of the body (TOP), None: all.

        Raises MessageGone, MailboxError, and OSError if it cannot be read.
        """
        self._file: BinaryIO = maildir.open(message)
        self._line_ends = LineEnds()
        self._stuffer = Stuffer()
        self._top = None if lines is None else Top(lines)
        self.over = False
        self._piece = b""
        self.read_on()

    def read_on(self) -> None:
        """Reads the next piece. Raises OSError; the file is closed then."""
        try:
            read = self._file.read(PIECE_OCTETS)
        except OSError:
            self.close()
            raise
        ended = len(read) < PIECE_OCTETS  # only the end makes the read of a regular file short
        if self._top is not None:
            read = self._top.feed(read)
            ended = ended or self._top.done
        self._piece = self._stuffer.feed(self._line_ends.feed(read))
        if ended:
            self._piece += self._stuffer.end()
            self.close()

    def take(self) -> bytes:
        """What was read last, ready to be sent."""
        piece, self._piece = self._piece, b""
        return piece

    def close(self) -> None:
        self.over = True
        self._file.close()
