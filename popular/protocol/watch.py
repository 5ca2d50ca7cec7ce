"""Watches what a logged-in client sends, without holding it up: has it sent QUIT, and was that answered, how many
deletions are not yet committed?

In the TRANSACTION state every line is a command, so it is enough to look at the first four octets of each line.
Deletions take effect only when QUIT is answered (RFC 1939 section 6), so nobody should be cut in between, and who has
none can be cut without harm.

Whether QUIT was answered shows when the connection ends. Its answer is the last line of all, and a status; with
commands sent ahead there are as many statuses after QUIT as commands that were open then. All that was sent before
the backend last spoke is taken for answered: so nothing that it says before QUIT is looked at, and only a client that
sends QUIT in a segment of its own, ahead of answers, could have its end taken for better than it was.
"""

from popular.protocol.lines import NullByte
from supervisor.octets import find, word_at

_LOOK = 4
_LF = 10
_QUIT, _DELE, _RSET = word_at(b"QUIT"), word_at(b"DELE"), word_at(b"RSET")
_RETR, _TOP = word_at(b"RETR"), word_at(b"TOP ")
MAIL_END = b"\r\n.\r\n"


def seen_of_mail_end(seen: int, piece: bytes) -> int:
    """How many octets of a mail's end have come, if so many had before this piece: it may come in several segments."""
    if piece.endswith(MAIL_END):
        return len(MAIL_END)
    tail = MAIL_END[:seen] + piece if len(piece) < len(MAIL_END) else piece
    count = len(MAIL_END)
    while not tail.endswith(MAIL_END[:count]):
        count -= 1
    return count


class CommandWatch:
    """Sees the client's stream piece by piece. `quit` once QUIT was sent; `deletes` since login or RSET."""

    __slots__ = ("_answer", "_answers", "_line", "_owed", "_status", "deletes", "fetches", "open", "quit")

    def __init__(self) -> None:
        self.quit = False
        self.deletes = 0
        self.fetches = False
        """The last command has asked for a mail."""
        self.open = 0
        """Commands since the backend last said something; whoever hears it, before QUIT, sets this to 0."""
        self._owed = 0
        """Answers after QUIT, the one to QUIT included."""
        self._answers = 0
        self._status = False
        """The last whole line of the backend's is a status."""
        self._line = self._answer = b""
        """The beginnings of the lines that are not finished yet, at most four octets."""

    def see(self, data: bytes) -> None:
        """Looks at the next piece. Raises NullByte."""
        if find(data, 0) >= 0:
            raise NullByte
        if not self._line and find(data, _LF) == len(data) - 1:
            # Nearly always: one command, whole.
            self.open += 1
            self._command(word_at(data))
            return
        lines = data.split(b"\n")
        lines[0] = self._line + lines[0][:_LOOK]
        self._line = lines.pop()[:_LOOK]
        for line in lines:
            self.open += 1
            self._command(word_at(line))

    def _command(self, verb: int) -> None:
        """A line begins with these four octets."""
        self.fetches = verb in (_RETR, _TOP)
        if verb == _QUIT:
            if not self.quit:
                self._owed = self.open
            self.quit = True
        elif verb == _DELE:
            self.deletes += 1
        elif verb == _RSET:
            self.deletes = 0

    def hear(self, data: bytes) -> None:
        """What the backend says after QUIT."""
        if not self._answer and find(data, _LF) == len(data) - 1:
            # Nearly always: one answer, whole.
            self._tell_status(data)
            return
        lines = data.split(b"\n")
        lines[0] = self._answer + lines[0][:_LOOK]
        self._answer = lines.pop()[:_LOOK]
        for line in lines:
            self._tell_status(line)

    def _tell_status(self, line: bytes) -> None:
        self._status = line.startswith((b"+OK", b"-ERR"))
        self._answers += self._status

    @property
    def is_in_line(self) -> bool:
        """Whether a command has begun, and is not whole: it may be QUIT."""
        return bool(self._line)

    @property
    def quit_answered(self) -> bool:
        """Whether the client has had its answer to QUIT, if this is the end."""
        return self.quit and self._status and not self._answer and self._answers >= self._owed
