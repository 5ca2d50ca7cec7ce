"""RFC 1939's TRANSACTION state over a maildrop: command lines in, responses out.

One code for both maildrops: the proxy's simulated mailbox is `Transaction((), capabilities)`, of which `WELCOME` and
`AT_ONCE` say beforehand what is always the same; the storage server's is a listed Maildir. The owner feeds one command
line at a time, sends `Response.reply`, then the rest of a long listing piece by piece, or the content if one is named.
A message that turns out to be gone is reported with `lost`, whose reply is sent instead. After QUIT it does what
`deleted` and `retrieved` say (RFC 1939's UPDATE) and sends `quit_reply`.

It never opens, deletes or moves anything, and nothing that a client sends makes it raise.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from popular.protocol.commands import VERBS, State, Verb, parse
from popular.protocol.international import LANG, NOTHING, lang
from popular.protocol.replies import err, ok
from supervisor.octets import find, namedtuple_of, part


class Listed(Protocol):
    """What is known of a message: its size in octets, and its unique id (1-70 of 0x21-0x7E, RFC 1939 section 7)."""

    @property
    def size(self) -> int: ...

    @property
    def uid(self) -> str: ...


class Content(NamedTuple):
    """Message `number` (from 1) is to be sent: whole, or its header and the first `lines` lines of its body."""

    number: int
    lines: int | None


class Response(NamedTuple):
    """The answer to one command line.

    `reply` is complete, listings with their lone dot, unless there is `more`: the other pieces of a long listing, made
    as they are asked for; no command is answered before the last one is taken. `content`, dot-stuffed, and its lone dot
    follow the reply. `over` says that QUIT was given; an empty `reply` then means: first do the UPDATE, then send
    `quit_reply`.
    """

    reply: bytes
    content: Content | None = None
    over: bool = False
    more: Iterator[bytes] | None = None


class _CommandFailed(Exception):
    """Says what is wrong with a command's arguments."""


LINES_OF_A_PIECE = 512
"""Lines of a listing that are made at a time: a shorter one is complete in its reply. 100,000 at once took 0.6 s."""

_END = b".\r\n"
_BLANK = 32
_BYE = ok("bye")
_DELETED = 1
_RETRIEVED = 2
_NOT_DELETED = bytes(marks & ~_DELETED for marks in range(256))
"""A translation table: takes the mark away, whatever the others are."""


class Transaction:
    """The TRANSACTION state of one session. Messages are numbered from 1 in the order given, for the whole session.

    `_count` and `_octets` are always those of the messages without the mark `_DELETED`.
    """

    __slots__ = ("_capabilities", "_count", "_languages", "_marks", "_messages", "_octets", "_over", "_whole")

    def __init__(
        self,
        messages: Sequence[Listed],
        capabilities: Sequence[str],
        languages: Mapping[str, str] = NOTHING.languages,
    ) -> None:
        """`capabilities` are the lines of the CAPA answer (RFC 2449 section 5), `languages` those that LANG knows."""
        self._messages = messages
        self._capabilities = capabilities
        self._languages = languages
        self._marks = bytearray(len(messages))
        self._over = False
        self._whole = sum([message.size for message in messages]) if messages else 0
        """Octets of all messages: summed up once, since a client may send RSET often."""
        self._count, self._octets = len(messages), self._whole

    def welcome(self) -> bytes:
        """The reply that opens the state: to PASS, or to an XPOP request."""
        return ok(self._extent())

    def command(self, line: bytes) -> Response:
        """Answers one command line (without its line end)."""
        assert not self._over, "nothing is a command after QUIT"
        blank = find(line, _BLANK)
        row = _DEEDS.get((line if blank < 0 else part(line, 0, blank)).upper())
        if row is None:
            return Response(_not_here(parse(line).keyword))
        verb, handler = row
        words = [] if blank < 0 else part(line, blank, len(line)).split()
        if not verb.fewest <= len(words) <= verb.most:
            return Response(err(f"{verb.keyword} takes {_arguments(verb)}, not {len(words)}"))
        try:
            return handler(self, words)
        except _CommandFailed as refusal:
            return Response(err(str(refusal)))

    def lost(self, number: int) -> bytes:
        """The reply to send when message `number` can no longer be opened; it then does not count as retrieved."""
        self._marks[number - 1] &= ~_RETRIEVED
        return err(f"message {number} is no longer there")

    @property
    def deleted(self) -> list[int]:
        """Numbers of the messages that UPDATE must remove."""
        return [number for number, marks in enumerate(self._marks, 1) if marks & _DELETED]

    @property
    def retrieved(self) -> list[int]:
        """Numbers of the messages that were sent whole and stay: UPDATE marks them as read."""
        return [number for number, marks in enumerate(self._marks, 1) if marks == _RETRIEVED]

    def _extent(self) -> str:
        return f"{self._count} message{'' if self._count == 1 else 's'} ({self._octets} octets)"

    def _number(self, word: bytes) -> int:
        """The message number in `word`, which is that of a message not deleted. Raises _CommandFailed."""
        number = int(word) if word.isdigit() else 0
        if number < 1:
            raise _CommandFailed("a message number is a whole number from 1")
        if number > len(self._messages):
            raise _CommandFailed(f"no such message, the highest number is {len(self._messages)}")
        if self._marks[number - 1] & _DELETED:
            raise _CommandFailed(f"message {number} is deleted")
        return number

    def _listing(self, show: Callable[[Listed], object], words: list[bytes]) -> Response:
        """One line for the message named, or a listing of all that are not deleted."""
        if words:
            number = self._number(words[0])
            return Response(ok(f"{number} {show(self._messages[number - 1])}"))
        first = ok(self._extent()) + self._piece(show, 0)
        if len(self._messages) <= LINES_OF_A_PIECE:
            return Response(first + _END)
        return Response(first, more=self._other_pieces(show))

    def _other_pieces(self, show: Callable[[Listed], object]) -> Iterator[bytes]:
        """Never an empty one: where many are deleted, a piece goes on to the next that is not."""
        for start in range(LINES_OF_A_PIECE, len(self._messages), LINES_OF_A_PIECE):
            if piece := self._piece(show, start):
                yield piece
        yield _END

    def _piece(self, show: Callable[[Listed], object], start: int) -> bytes:
        """The lines of the messages from this index on; each begins with a number, so that none is dot-stuffed."""
        end = start + LINES_OF_A_PIECE
        marked = zip(self._messages[start:end], self._marks[start:end], strict=True)
        lines = [
            f"{number} {show(message)}\r\n"
            for number, (message, marks) in enumerate(marked, start + 1)
            if not marks & _DELETED
        ]
        return "".join(lines).encode("ascii", "replace")

    def _stat(self, _words: list[bytes]) -> Response:
        return _said(b"+OK %d %d\r\n" % (self._count, self._octets), False)

    def _list(self, words: list[bytes]) -> Response:
        return self._listing(lambda message: message.size, words)

    def _uidl(self, words: list[bytes]) -> Response:
        return self._listing(lambda message: message.uid, words)

    def _retr(self, words: list[bytes]) -> Response:
        number = self._number(words[0])
        self._marks[number - 1] |= _RETRIEVED
        return Response(ok(f"{self._messages[number - 1].size} octets"), Content(number, None))

    def _top(self, words: list[bytes]) -> Response:
        number = self._number(words[0])
        if not words[1].isdigit():
            raise _CommandFailed("the number of lines is a whole number from 0")
        return Response(ok("top of the message follows"), Content(number, int(words[1])))

    def _dele(self, words: list[bytes]) -> Response:
        number = self._number(words[0])
        self._marks[number - 1] |= _DELETED
        self._count -= 1
        self._octets -= self._messages[number - 1].size
        return Response(ok(f"message {number} deleted"))

    def _noop(self, _words: list[bytes]) -> Response:
        return Response(ok())

    def _rset(self, _words: list[bytes]) -> Response:
        self._marks = self._marks.translate(_NOT_DELETED)
        self._count, self._octets = len(self._messages), self._whole
        return Response(ok(self._extent()))

    def _capa(self, _words: list[bytes]) -> Response:
        return Response(_multi_line(ok("capability list follows"), self._capabilities))

    def _lang(self, words: list[bytes]) -> Response:
        if not self._languages:
            raise _CommandFailed("LANG is not offered here")
        return Response(lang(self._languages, words)[0])

    def _quit(self, _words: list[bytes]) -> Response:
        self._over = True
        return _said(b"" if any(self._marks) else _BYE, True)


def _said(reply: bytes, over: bool) -> Response:
    """A response that is a reply alone: nearly all are."""
    return namedtuple_of(Response, (reply, None, over, None))


def quit_reply(failed: int) -> bytes:
    """The reply to QUIT after the UPDATE (RFC 1939 section 6); `failed`: deleted messages that could not be removed."""
    return err(f"{failed} deleted messages could not be removed") if failed else _BYE


def _multi_line(first: bytes, lines: Iterable[str]) -> bytes:
    """A multi-line response (RFC 1939 section 3)."""
    body = "".join([f".{line}\r\n" if line.startswith(".") else f"{line}\r\n" for line in lines])
    return first + body.encode("ascii", "replace") + _END


def _arguments(verb: Verb) -> str:
    if verb.most == 0:
        return "no argument"
    span = str(verb.most) if verb.fewest == verb.most else f"{verb.fewest} or {verb.most}"
    return f"{span} argument{'' if span == '1' else 's'}"


def _not_here(keyword: str) -> bytes:
    if keyword in VERBS:
        return err(f"{keyword} is not for this state: you are logged in")
    return err(f"unknown command; known are {_KNOWN}")


_DEEDS: dict[bytes, tuple[Verb, Callable[[Transaction, list[bytes]], Response]]] = {
    keyword.encode(): (verb, getattr(Transaction, f"_{keyword.lower()}"))
    for keyword, verb in VERBS.items()
    if State.TRANSACTION in verb.states
}
"""Every verb of this state with its row and its handler; a row without a handler fails at import."""
_KNOWN = " ".join([keyword.decode() for keyword in _DEEDS if keyword != LANG.encode()])
"""Those that are there in any case."""

WELCOME = Transaction((), ()).welcome()
"""What opens a maildrop without mail."""
AT_ONCE = {line: Transaction((), ()).command(line).reply for line in (b"STAT", b"LIST", b"UIDL", b"NOOP", b"RSET")}
"""The answers of a maildrop without mail to the lines that nearly all clients say: they depend on nothing, and change
nothing.
"""
