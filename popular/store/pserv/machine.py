"""A `pserv` session as a machine: octets and facts in, verbs out. No socket, clock, log or file in here.

    says, client_ends, reset              what the client sent, that it sends nothing more, that its connection broke
    proceed                               the client has taken all that was sent
    opened, cannot_open                   how it went with the mailbox
    piece, gone, unreadable, broke_off    how it went with a message
    updated, cannot_update                how it went with the UPDATE
    expired                               a deadline has passed

`wants` says what it waits for after each of them: octets are to be fed, and `proceed` called, only when it wants that.
So a client that pipelines is answered in order, and no faster than it takes the answers; what is held for it is
bounded: some replies, one piece of a listing, or one of a message.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from popular.protocol.commands import VERBS, parse
from popular.protocol.lines import LONGEST_COMMAND, LineBuffer, LineTooLong, NullByte
from popular.protocol.replies import Code, err
from popular.protocol.transaction import Response, Transaction, quit_reply
from popular.protocol.xpop import LONGEST_LINE, BadMailboxName, BadRequest, Request, RequestReader
from popular.store.maildir.listing import NEW, ListingNote, StoredMessage
from popular.store.messages import DIR_ACCESS_FAILED, READ_FAILED, UPDATE_FAILED
from popular.store.pserv.phases import (
    ASKED_NOTHING,
    ENDED,
    ENDING,
    LEGAL,
    LISTING,
    OPENING,
    SENDING,
    SERVING,
    UPDATING,
    Phase,
    Want,
)
from popular.store.pserv.verbs import Verbs
from supervisor.runtime.messages import Message as LogMessage

DISK_SECONDS = 60.0
"""How long the file system may take for one thing."""
CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""
ENOUGH = 1 << 15
"""Octets of replies that are put together before others get their turn."""
LINES_A_TURN = 8
"""Lines of a client that are answered before others get theirs."""
MOST_NOTES = 20
"""Odd files of a mailbox that one look logs; a broken mailbox must not fill the log each time."""

_NOT_POP3 = "this is a storage server for POP3 proxies (XPOP), not a POP3 server: please connect to the proxy"
_CANNOT_OPEN = "the mailbox cannot be opened at the moment, please try again later"
_CANNOT_READ = "the message cannot be read at the moment, please try again later"
_CANNOT_UPDATE = "the mailbox cannot be updated at the moment; some messages may still be there"
_TOO_LONG = "the line is too long"

_WORDS_OF_POP3 = frozenset({*VERBS, "APOP", "AUTH"})
_TAKES_LINES = (ASKED_NOTHING, SERVING)
_CUT = {"idle": "idle_timeout", "session": "session_timeout"}
"""Deadlines that end a session without a word (RFC 1939 section 3)."""
_UNCUT = (UPDATING, ENDING)
"""Between QUIT and its reply, and while that leaves, only what is expected has a deadline: it is a short one."""
_SLOW = {OPENING: _CANNOT_OPEN, UPDATING: _CANNOT_UPDATE}
"""What is said when the file system is too slow; inside a message nothing can be."""


class _Sending(NamedTuple):
    """The message that is being sent. Its reply leaves with its first piece: only then is it certain."""

    reply: bytes
    number: int
    lines: int | None


class Machine:
    """One session. `phase`, `wants`, `request` and the counts `retrieved`, `deleted` may be looked at."""

    __slots__ = (
        "_capabilities",
        "_ending",
        "_eof",
        "_lines",
        "_listing",
        "_messages",
        "_reader",
        "_said",
        "_sending",
        "_transaction",
        "_verbs",
        "deleted",
        "phase",
        "request",
        "retrieved",
        "wants",
    )

    def __init__(self, verbs: Verbs, capabilities: Sequence[str]) -> None:
        """`capabilities` are the lines of the CAPA answer."""
        self._verbs = verbs
        self._capabilities = capabilities
        self._lines = LineBuffer(LONGEST_LINE)
        self._reader = RequestReader()
        self._transaction = Transaction((), ())
        self._messages: Sequence[StoredMessage] = ()
        self._sending: _Sending | None = None
        self._listing: Iterator[bytes] = iter(())
        self._said = 0
        self._eof = False
        self._ending = "", ""
        self.phase: Phase = ASKED_NOTHING
        self.wants = Want.OCTETS
        self.request: Request | None = None
        self.retrieved = 0
        """Messages that were sent whole; one that was sent twice counts twice."""
        self.deleted = 0
        """Messages that the UPDATE removed."""

    def _move(self, phase: Phase) -> None:
        assert phase in LEGAL[self.phase], f"from {self.phase.name} to {phase.name}"
        self.phase = phase

    # The client

    def says(self, data: bytes) -> None:
        """The client sent something."""
        assert self.wants is Want.OCTETS
        self._lines.feed(data)
        self._take_lines()

    def client_ends(self) -> None:
        """The client will send nothing more; what it said before is still answered."""
        assert self.wants is Want.OCTETS
        self._eof = True
        self._take_lines()

    def reset(self) -> None:
        """The client's connection broke."""
        self._end("client_reset")

    def proceed(self) -> None:
        """The client has taken all that was sent."""
        assert self.wants in (Want.ROOM, Want.TURN)
        if self.phase is SENDING:
            self._ask_disk()
            self._verbs.read_on()
        elif self.phase is LISTING:
            self._list_on()
        elif self.phase is ENDING:
            self._end(*self._ending)
        else:
            self._take_lines()

    def expired(self, deadline: str) -> None:
        """A deadline has passed: "auth" that of the request, "step" what was expected, "idle", "session"."""
        if self.phase in _UNCUT and deadline != "step":
            return
        if self.phase is ENDING:
            self._end(*self._ending)
        elif deadline == "auth":
            self._finish("request_timeout", err(_NOT_POP3))  # who waits for a greeting is a POP3 client
        elif deadline == "step":
            text = _SLOW.get(self.phase)
            self._finish("disk_timeout", err(text, Code.SYS_TEMP) if text else b"")
        else:
            self._end(_CUT[deadline])

    def _take_lines(self) -> None:
        """Obeys what has come, until something must be waited for."""
        self._said = 0
        self.wants = Want.OCTETS
        left = LINES_A_TURN
        try:
            while self.wants is Want.OCTETS:
                left -= 1
                if self._said >= ENOUGH or (left < 0 and self._lines.held):
                    self.wants = Want.TURN
                elif not (self._take_request() if self.phase is ASKED_NOTHING else self._take_command()):
                    break
        except NullByte:
            self._finish("null_byte")
        except LineTooLong:
            self._finish("line_too_long", err(_TOO_LONG))
        else:
            if self.wants is Want.OCTETS and self._eof:
                self._finish("client_closed")

    def _take_request(self) -> bool:
        """Whether it was there."""
        try:
            request = self._reader.take(self._lines)
        except (BadMailboxName, BadRequest) as error:
            speaks_pop3 = parse(self._reader.mailbox).keyword in _WORDS_OF_POP3
            self._finish("bad_request", err(_NOT_POP3 if speaks_pop3 else str(error), Code.SYS_PERM), str(error))
            return True
        if request is None:
            return False
        self.request = request
        self._lines.limit = LONGEST_COMMAND
        self._move(OPENING)
        self._verbs.open_mailbox(request)
        self._ask_disk()
        return True

    def _take_command(self) -> bool:
        """Whether there was one."""
        line = self._lines.next_line()
        if line is None:
            return False
        answer = self._transaction.command(line)
        if answer.content is not None:
            self._send_message(answer)
        elif answer.over:
            if answer.reply:
                self._finish("quit", answer.reply)
            else:
                self._update()
        else:
            self._say(answer.reply)
            if answer.more is not None:
                self._move(LISTING)
                self._listing = answer.more
                self.wants = Want.TURN
        return True

    def _list_on(self) -> None:
        piece = next(self._listing, None)
        if piece is not None:
            self._say(piece)
        else:
            self._move(SERVING)
            self._take_lines()

    # The disk

    def _ask_disk(self) -> None:
        self.wants = Want.FACT
        self._verbs.expect_within(DISK_SECONDS)

    def _awaits_fact_of(self, phase: Phase) -> bool:
        """Whether the fact is of use: one that comes when the last reply is on its way is too late."""
        if self.phase is ENDING:
            return False
        assert self.phase is phase
        assert self.wants is Want.FACT
        self._verbs.expect_nothing()
        return True

    def opened(self, messages: Sequence[StoredMessage], notes: Sequence[ListingNote]) -> None:
        """The mailbox is listed. `notes`: what was odd in it."""
        if self._awaits_fact_of(OPENING):
            self._verbs.count("opened")
            self._note_odd_files(notes)
            self._messages = messages
            self._transaction = Transaction(messages, self._capabilities)
            self._move(SERVING)
            self._verbs.send(self._transaction.welcome())
            self._take_lines()

    def cannot_open(self, reason: str) -> None:
        """The mailbox is unavailable."""
        if self._awaits_fact_of(OPENING):
            self._note(DIR_ACCESS_FAILED, reason=reason)
            self._finish("mailbox_failed", err(_CANNOT_OPEN, Code.SYS_TEMP))

    def _send_message(self, answer: Response) -> None:
        assert answer.content is not None
        number, lines = answer.content
        self._sending = _Sending(answer.reply, number, lines)
        self._move(SENDING)
        self._verbs.open_message(self._messages[number - 1], lines)
        self._ask_disk()

    def piece(self, content: bytes, *, last: bool) -> None:
        """The next piece of the message, as it goes over the wire."""
        if self._awaits_fact_of(SENDING):
            assert self._sending is not None
            if self._sending.reply:
                self._verbs.send(self._sending.reply)
                self._sending = self._sending._replace(reply=b"")
            self._verbs.send_content(content)
            self.wants = Want.ROOM
            if last:
                self._move(SERVING)
                if self._sending.lines is None:
                    self.retrieved += 1

    def gone(self) -> None:
        """The message was removed by another session."""
        if self._awaits_fact_of(SENDING):
            self._serve_on(self._lost())

    def unreadable(self, reason: str) -> None:
        """The message could not be opened."""
        if self._awaits_fact_of(SENDING):
            self._note(READ_FAILED, reason=reason)
            self._lost()
            self._serve_on(err(_CANNOT_READ, Code.SYS_TEMP))

    def _lost(self) -> bytes:
        assert self._sending is not None
        return self._transaction.lost(self._sending.number)

    def _serve_on(self, reply: bytes) -> None:
        self._move(SERVING)
        self._verbs.send(reply)
        self._take_lines()

    def broke_off(self, reason: str) -> None:
        """The rest of the message could not be read: no reply can be sent inside a message."""
        if self._awaits_fact_of(SENDING):
            self._note(READ_FAILED, reason=reason)
            self._finish("mailbox_failed")

    def _update(self) -> None:
        """What a master session (flag M) has read stays new."""
        assert self.request is not None
        deleted = [self._messages[number - 1] for number in self._transaction.deleted]
        retrieved = [] if self.request.is_master else self._transaction.retrieved
        read = [message for number in retrieved if (message := self._messages[number - 1]).folder == NEW]
        if deleted or read:
            self._move(UPDATING)
            self._verbs.update(deleted, read)
            self._ask_disk()
        else:
            self._finish("quit", quit_reply(0))

    def updated(self, removed: int, failed: int, notes: Sequence[ListingNote]) -> None:
        """The UPDATE is done; `failed` deleted messages are still there."""
        if self._awaits_fact_of(UPDATING):
            self.deleted = removed
            self._note_odd_files(notes)
            self._finish("quit", quit_reply(failed))

    def cannot_update(self, reason: str) -> None:
        """Nothing of the UPDATE could be done."""
        if self._awaits_fact_of(UPDATING):
            self._note(UPDATE_FAILED, reason=reason)
            self._finish("update_failed", err(_CANNOT_UPDATE, Code.SYS_TEMP))

    # What is said and written

    def _say(self, reply: bytes) -> None:
        self._said += len(reply)
        self._verbs.send(reply)

    def _note(self, message: LogMessage, **fields: object) -> None:
        assert self.request is not None
        self._verbs.note(message, mailbox=self.request.mailbox, **fields)

    def _note_odd_files(self, notes: Sequence[ListingNote]) -> None:
        for note in notes[:MOST_NOTES]:
            self._note(note.message, file=note.file, reason=note.reason)
        if len(notes) > MOST_NOTES:
            more = notes[MOST_NOTES]
            self._note(more.message, file=more.file, reason=f"and {len(notes) - MOST_NOTES} more files")

    # The end

    def _finish(self, ending: str, reply: bytes = b"", reason: str = "") -> None:
        """The last reply: the session ends when the client has taken it. `reason` is for the log."""
        self._move(ENDING)
        self._ending = ending, reason
        self.wants = Want.ROOM
        if reply:
            self._verbs.send(reply)
        self._verbs.expect_within(CLOSING_SECONDS)

    def _end(self, ending: str, reason: str = "") -> None:
        self._move(ENDED)
        self.wants = Want.FACT
        self._verbs.end(ending, reason)
