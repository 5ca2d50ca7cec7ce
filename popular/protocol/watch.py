"""Watches what a logged-in client sends, without holding it up: has it sent QUIT, and was that answered, how many
deletions are not yet committed?

In the TRANSACTION state every line is a command, so it is enough to look at the beginning of each line: its first word,
blanks in front of it left out, because some servers (Courier) do so too. QUIT is the word, whatever stands behind it:
Dovecot obeys `QUIT now`. Deletions take effect only when QUIT is answered (RFC 1939 section 6), so nobody should be cut
in between, and who has none can be cut without harm.

Whether QUIT was answered shows when the connection ends. Its answer is the last line of all, and a status; with
commands sent ahead there are as many statuses after QUIT as commands that were open then. All that was sent before
the backend last spoke is taken for answered: so nothing that it says before QUIT is looked at, and only a client that
sends QUIT in a segment of its own, ahead of answers (`unsure`), could have its end taken for better than it was. If a
later command is answered too, it was no QUIT for the backend (which closes after one), and is taken back.
"""

from popular.protocol.lines import NullByte
from supervisor.octets import find, word_at

_WORD = 4
_LOOK = _WORD + 1
"""Octets of a line that is not whole: its first word, and what ends that."""
_LF = 10
_BLANK = 32
"""So is what is less: a tab, an end of the line."""
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

    __slots__ = (
        "_answer",
        "_answers",
        "_last",
        "_line",
        "_owed",
        "_status",
        "deletes",
        "fetches",
        "open",
        "quit",
        "unsure",
    )

    def __init__(self) -> None:
        self.quit = False
        self.deletes = 0
        self.fetches = False
        """The last command has asked for a mail."""
        self.open = 0
        """Commands since the backend last said something."""
        self.unsure = False
        """It has spoken while several were open: how many of them that has answered nobody knows, from then on."""
        self._owed = self._last = 0
        """Answers after QUIT, the one to QUIT included; and so for the last QUIT, if more than one was sent ahead."""
        self._answers = 0
        self._status = False
        """The last whole line of the backend's is a status."""
        self._line = self._answer = b""
        """The beginnings of the lines that are not finished yet; the client's is never nothing but for a line's end."""

    def see(self, data: bytes) -> None:
        """Looks at the next piece. Raises NullByte."""
        if find(data, 0) >= 0:
            raise NullByte
        if not self._line and find(data, _LF) == len(data) - 1:
            # Nearly always: one command, whole.
            self.open += 1
            self._command(data)
            return
        lines = (self._line + data).split(b"\n")
        line = lines.pop()
        self._line = (line.lstrip() or line)[:_LOOK] if line[:1].isspace() else line[:_LOOK]
        for line in lines:
            self.open += 1
            self._command(line)

    def _command(self, line: bytes) -> None:
        """A line is whole, its end may be left out."""
        verb = word_at(line)
        if verb >> 24 <= _BLANK:
            line = line.lstrip()
            verb = word_at(line)
        self.fetches = verb in (_RETR, _TOP)
        if verb == _QUIT:
            if len(line) == _WORD or line[_WORD] <= _BLANK:
                self._last = self.open
                if not self.quit or self.quit_answered:
                    self._owed = self.open
                self.quit = True
        elif verb == _DELE:
            self.deletes += 1
        elif verb == _RSET:
            self.deletes = 0

    def spoke(self, said: bytes = b"") -> None:
        """The backend has said something, before QUIT."""
        if self.open > 1:
            self.unsure = True
        elif self.fetches and self.open and said.startswith(b"-ERR"):
            self.fetches = False  # no mail comes
        self.open = 0

    def hear(self, data: bytes) -> None:
        """What the backend says after QUIT."""
        if not self._answer and find(data, _LF) == len(data) - 1:
            # Nearly always: one answer, whole.
            self._tell_status(data)
            return
        lines = (self._answer + data).split(b"\n")
        self._answer = lines.pop()[:_LOOK]
        for line in lines:
            self._tell_status(line)
            if not self.quit:
                return

    def _tell_status(self, line: bytes) -> None:
        self._status = line.startswith((b"+OK", b"-ERR"))
        if not self._status:
            return
        self._answers += 1
        if self._answers < self._owed:
            return
        is_later = self._answers > self._owed
        if self._last > self._owed and (is_later or line.startswith(b"-")):
            self._owed = self._last
        elif is_later and self.open > self._owed and not self.unsure:
            self._take_back()  # and it was no line of a mail that was asked for ahead of QUIT

    def _take_back(self) -> None:
        """The backend goes on: it has obeyed no QUIT."""
        self.quit = self._status = False
        self.open = self._owed = self._last = self._answers = 0
        self._answer = b""

    @property
    def is_in_line(self) -> bool:
        """Whether a command has begun, and is not whole."""
        return bool(self._line)

    @property
    def may_become_quit(self) -> bool:
        """Whether a line has begun that can still be QUIT."""
        line = self._line.lstrip()
        return bool(self._line) and b"QUIT".startswith(line[:_WORD].upper()) and not line[_WORD:].strip()

    @property
    def awaits_answer(self) -> bool:
        """Whether a command is open: nothing was said since, or behind QUIT not enough."""
        return self.open > (self._answers if self.quit else 0)

    @property
    def quit_answered(self) -> bool:
        """Whether the client has had its answer to QUIT, as far as it shows; for certain only if this is the end."""
        return self.quit and self._status and not self._answer and self._answers >= self._owed

    @property
    def quit_surely_answered(self) -> bool:
        """Whether it has while it lasts: an answer to what was sent ahead may have been counted for it."""
        return self.quit_answered and not self.unsure
