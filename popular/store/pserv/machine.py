"""A `pserv` session as a machine: octets and facts in, one step out at a time. No socket, clock, log or file in here.

    says, ends                          what the client sent, or that it will send nothing more
    opened, cannot_open                 how it went with the mailbox
    sent, gone, unreadable, broke_off   how it went with a message
    updated, cannot_update              how it went with the UPDATE

After any of them the driver asks for `step` until there is none: so a client that pipelines is answered in order, and
no faster than it takes the answers.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from popular.phrased import Phrased
from popular.protocol.commands import VERBS, parse
from popular.protocol.lines import LONGEST_COMMAND, LineBuffer, LineTooLong, NullByte
from popular.protocol.replies import Code, err
from popular.protocol.transaction import Transaction, quit_reply
from popular.protocol.xpop import LONGEST_LINE, BadMailboxName, BadRequest, Request, RequestReader
from popular.store.listing import NEW, Message

_NOT_POP3 = "this is a storage server for POP3 proxies (XPOP), not a POP3 server: please connect to the proxy"
_CANNOT_OPEN = "the mailbox cannot be opened at the moment, please try again later"
_CANNOT_READ = "the message cannot be read at the moment, please try again later"
_CANNOT_UPDATE = "the mailbox cannot be updated at the moment; some messages may still be there"
_TOO_LONG = "the line is too long"

_WORDS_OF_POP3 = frozenset({*VERBS, "APOP", "AUTH"})


class Phase(Phrased):
    """What a session is doing. The number stands in its row, the phrase completes "… while ___"."""

    ASKED_NOTHING = 1, "waiting for a request"
    OPENING = 2, "opening the mailbox"
    SERVING = 3, "waiting for a command"
    SENDING = 4, "sending a message"
    UPDATING = 5, "updating the mailbox"
    OVER = 6, "ending"


STATES = ("free", *(phase.phrase for phase in Phase))
"""For the table: index 0 is a row without a session."""


class Open(NamedTuple):
    """List the mailbox of the request."""

    request: Request


class Reply(NamedTuple):
    """Send this."""

    data: bytes


class SendMessage(NamedTuple):
    """Open the message; if that works send `reply` and the content: all of it, or the header and `lines` lines."""

    reply: bytes
    message: Message
    lines: int | None


class Update(NamedTuple):
    """Remove the deleted messages, move the read ones."""

    deleted: list[Message]
    read: list[Message]


class Close(NamedTuple):
    """Send `reply`, if there is one, and end the session. `reason` is for the log."""

    ending: str
    reply: bytes = b""
    reason: str = ""


Step: TypeAlias = Open | Reply | SendMessage | Update | Close

_WAITING = frozenset({Phase.ASKED_NOTHING, Phase.SERVING})


class Machine:
    """One session. `phase`, `request` and the counts `retrieved`, `deleted` may be looked at."""

    __slots__ = (
        "_capabilities",
        "_eof",
        "_lines",
        "_messages",
        "_reader",
        "_sending",
        "_transaction",
        "deleted",
        "phase",
        "request",
        "retrieved",
    )

    def __init__(self, capabilities: Sequence[str]) -> None:
        """`capabilities` are the lines of the CAPA answer."""
        self._capabilities = capabilities
        self._lines = LineBuffer(LONGEST_LINE)
        self._reader: RequestReader | None = RequestReader()
        self._transaction: Transaction | None = None
        self._messages: Sequence[Message] = ()
        self._sending: tuple[int, int | None] = (0, None)
        self._eof = False
        self.phase = Phase.ASKED_NOTHING
        self.request: Request | None = None
        self.retrieved = 0
        """Messages that were sent whole; one that was sent twice counts twice."""
        self.deleted = 0
        """Messages that the UPDATE removed."""

    @property
    def listens(self) -> bool:
        """Whether the next step, if there is none yet, hangs on the client."""
        return self.phase in _WAITING and not self._eof

    # Facts

    def says(self, data: bytes) -> None:
        """The client sent something. To be called only while the machine `listens`, so that little is ever held."""
        self._lines.feed(data)

    def ends(self) -> None:
        """The client will send nothing more; what it said before is still answered."""
        self._eof = True

    def opened(self, messages: Sequence[Message]) -> Reply:
        """The mailbox is listed."""
        assert self.phase is Phase.OPENING
        self.phase = Phase.SERVING
        self._messages = messages
        self._transaction = Transaction(messages, self._capabilities)
        return Reply(self._transaction.welcome())

    def cannot_open(self) -> Close:
        """The mailbox is not to be had."""
        return self._close("mailbox_failed", err(_CANNOT_OPEN, Code.SYS_TEMP))

    def sent(self) -> None:
        """The message has gone out to its end."""
        assert self.phase is Phase.SENDING
        self.phase = Phase.SERVING
        if self._sending[1] is None:
            self.retrieved += 1

    def gone(self) -> Reply:
        """The message was removed by another session."""
        return Reply(self._lost())

    def unreadable(self) -> Reply:
        """The message could not be opened."""
        self._lost()
        return Reply(err(_CANNOT_READ, Code.SYS_TEMP))

    def broke_off(self) -> Close:
        """The rest of the message could not be read: no reply can be sent inside a message."""
        return self._close("mailbox_failed")

    def updated(self, removed: int, failed: int) -> Close:
        """The UPDATE is done; `failed` deleted messages are still there."""
        self.deleted = removed
        return self._close("quit", quit_reply(failed))

    def cannot_update(self) -> Close:
        """Nothing of the UPDATE could be done."""
        return self._close("update_failed", err(_CANNOT_UPDATE, Code.SYS_TEMP))

    def disk_is_slow(self) -> Close:
        """The file system does not answer."""
        replies = {Phase.OPENING: _CANNOT_OPEN, Phase.UPDATING: _CANNOT_UPDATE}
        text = replies.get(self.phase)
        return self._close("disk_timeout", err(text, Code.SYS_TEMP) if text else b"")

    def too_late(self) -> Close:
        """The request did not come in time. Who waits for a greeting is a POP3 client."""
        return self._close("request_timeout", err(_NOT_POP3))

    # Steps

    def step(self) -> Step | None:
        """The next thing to do; None if a fact must come first."""
        try:
            if self.phase is Phase.SERVING:
                return self._take_command()
            if self.phase is Phase.ASKED_NOTHING:
                return self._take_request()
        except NullByte:
            return self._close("null_byte")
        except LineTooLong:
            return self._close("line_too_long", err(_TOO_LONG))
        return None

    def _take_request(self) -> Step | None:
        assert self._reader is not None
        try:
            request = self._reader.take(self._lines)
        except (BadMailboxName, BadRequest) as error:
            return self._refuse(str(error))
        if request is None:
            return self._close("client_closed") if self._eof else None
        self.request = request
        self.phase = Phase.OPENING
        self._reader = None
        self._lines.limit = LONGEST_COMMAND
        return Open(request)

    def _refuse(self, reason: str) -> Close:
        assert self._reader is not None
        speaks_pop3 = parse(self._reader.mailbox).keyword in _WORDS_OF_POP3
        return self._close("bad_request", err(_NOT_POP3 if speaks_pop3 else reason, Code.SYS_PERM), reason)

    def _take_command(self) -> Step | None:
        line = self._lines.next_line()
        if line is None:
            return self._close("client_closed") if self._eof else None
        assert self._transaction is not None
        answer = self._transaction.command(line)
        if answer.content is not None:
            self.phase = Phase.SENDING
            number, lines = self._sending = answer.content
            return SendMessage(answer.reply, self._messages[number - 1], lines)
        if not answer.over:
            return Reply(answer.reply)
        return self._close("quit", answer.reply) if answer.reply else self._update(self._transaction)

    def _update(self, transaction: Transaction) -> Step:
        """What a master session has read stays new (the manual's chapter on the module master)."""
        assert self.request is not None
        deleted = [self._messages[number - 1] for number in transaction.deleted]
        retrieved = [] if self.request.is_master else transaction.retrieved
        read = [message for number in retrieved if (message := self._messages[number - 1]).folder == NEW]
        if not deleted and not read:
            return self._close("quit", quit_reply(0))
        self.phase = Phase.UPDATING
        return Update(deleted, read)

    def _lost(self) -> bytes:
        assert self.phase is Phase.SENDING
        assert self._transaction is not None
        self.phase = Phase.SERVING
        return self._transaction.lost(self._sending[0])

    def _close(self, ending: str, reply: bytes = b"", reason: str = "") -> Close:
        self.phase = Phase.OVER
        return Close(ending, reply, reason)
