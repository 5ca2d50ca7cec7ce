"""What client and server say to each other after the login, taken apart: each command, and the reply that is its own.

Replies come in the order of the commands (RFC 1939, and RFC 2449 section 6.6 for those that are sent ahead), and which
of them have lines after the status is known from the command. So nothing needs to be asked and nothing is held up:
octets go in as they pass, in whatever pieces. Where they make no sense (`lost`), nothing more is made of them.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from popular.protocol.lines import is_ok

LISTING = frozenset({"CAPA", "LIST", "UIDL", "LANG"})
"""Replies whose lines hold no mail; those of LIST, UIDL and LANG have lines where they name nothing."""
MESSAGE = frozenset({"RETR", "TOP"})
"""Replies whose lines are a mail."""
_IF_ALONE = frozenset({"LIST", "UIDL", "LANG"})
MOST_LINES = 64
"""Lines of a listing that are kept."""
MOST_AHEAD = 4096
"""Commands that may wait for their replies; a client that says more of them ahead makes no dialogue. Somebody may send
line ends only, and as many as the buffers of two kernels take: a hundred times as much would be held for each.
"""
_LONGEST = 1 << 16
"""Octets of a line, of either side, after which it is no dialogue."""


class SentCommand(NamedTuple):
    """A command, without the end of its line. The keyword is in upper case, as far as it is one."""

    keyword: str
    argument: bytes
    octets: int

    @property
    def has_lines(self) -> bool:
        """Whether there are lines after a positive reply."""
        return self.keyword in MESSAGE or (
            self.keyword in LISTING and not (self.keyword in _IF_ALONE and self.argument.strip())
        )


LOGIN: Final = SentCommand("", b"", 0)
"""What the first reply belongs to."""


class StatusLine(NamedTuple):
    """The first line of a reply, without its end."""

    to: SentCommand
    line: bytes

    @property
    def is_ok(self) -> bool:
        return is_ok(self.line)


@dataclass
class ReplyLines:
    """What stood after it: all of it, up to the dot. `shown`: the first lines of a listing."""

    to: SentCommand
    count: int = 0
    octets: int = 0
    shown: list[bytes] = field(default_factory=list)


Heard: TypeAlias = StatusLine | ReplyLines


def said(line: bytes) -> SentCommand:
    """A line of a client's, without its end."""
    word, _, argument = line.partition(b" ")
    keyword = word.upper().decode("ascii") if word.isalnum() and word.isascii() and len(word) < 13 else ""
    return SentCommand(keyword, argument, len(line))


class Conversation:
    """One, from the reply to the login on."""

    def __init__(self) -> None:
        self.open: deque[SentCommand] = deque((LOGIN,))
        """Commands without a reply yet."""
        self.lost = False
        """The server has said something that no reply begins with, or to nobody; or the client is too far ahead."""
        self._client = self._server = b""
        """The beginnings of lines that are not whole yet."""
        self.lines: ReplyLines | None = None

    def client_says(self, data: bytes) -> list[SentCommand]:
        """The commands that are whole now."""
        if self.lost:
            return []
        *lines, self._client = (self._client + data).split(b"\n")
        commands = [said(line.removesuffix(b"\r")) for line in lines]
        self.open += commands
        if len(self._client) > _LONGEST or len(self.open) > MOST_AHEAD:
            self._lose()
        return commands

    def server_says(self, data: bytes) -> list[Heard]:
        """The replies, or their parts, that are whole now."""
        heard: list[Heard] = []
        *lines, rest = (self._server + data).split(b"\n")
        for line in lines:
            if self.lost:
                break
            self._hear(line.removesuffix(b"\r"), len(line) + 1, heard)
        self._server = rest
        if self.lost or len(rest) > _LONGEST:
            self._lose()
        return heard

    def _lose(self) -> None:
        """Nothing more is made of it, and nothing of it is held."""
        self.lost = True
        self.open.clear()
        self._client = self._server = b""

    def _hear(self, line: bytes, octets: int, heard: list[Heard]) -> None:
        lines = self.lines
        if lines is None:
            self._begin(line, heard)
        elif line == b".":
            self.lines = None
            heard.append(lines)
        else:
            lines.count += 1
            lines.octets += octets
            if lines.to.keyword in LISTING and len(lines.shown) < MOST_LINES:
                lines.shown.append(line)

    def _begin(self, line: bytes, heard: list[Heard]) -> None:
        if not self.open or not line.startswith((b"+OK", b"-ERR")):
            self.lost = True
            return
        status = StatusLine(self.open.popleft(), line)
        heard.append(status)
        if status.is_ok and status.to.has_lines:
            self.lines = ReplyLines(status.to)
