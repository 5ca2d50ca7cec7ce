"""The mailbox of one session, seen from the event loop: every deed runs in the pool, one at a time.

What came of a deed is told to the machine, and what the machine makes of it to the owner. When the session is over
before a deed is done, the deed is finished and forgotten; nothing stays open.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from popular.store.listing import Listing
from popular.store.maildir import MailboxError, Maildir, MessageGone, Updated
from popular.store.messages import DIR_ACCESS_FAILED, READ_FAILED, UPDATE_FAILED
from popular.store.pserv.machine import Close, Machine, Reply, SendMessage, Update
from popular.store.pserv.outgoing import Outgoing
from popular.store.pserv.session_log import tell_notes
from supervisor.messages import Message as LogMessage
from supervisor.workshop import Workshop


class Owner(Protocol):
    """The session."""

    machine: Machine
    sid: str

    def disk_begins(self) -> None:
        """A deed has begun."""

    def disk_is_done(self, tell: Callable[[Any], None], outcome: Any) -> None:
        """It is done: `tell(outcome)` is to be called, unless a last reply is on its way already."""

    def answer(self, step: Reply | Close) -> None:
        """What the machine made of it."""

    def send_piece(self, piece: bytes) -> None:
        """A piece of a message."""


class Mailbox:
    """One mailbox. `sending`: a message is open, and there is more of it to `read_on`."""

    __slots__ = ("_closed", "_job", "_maildir", "_outgoing", "_owner", "_shop")

    def __init__(self, shop: Workshop, root: Path, name: str, owner: Owner) -> None:
        self._shop = shop
        self._owner = owner
        self._maildir = Maildir(root, name)
        self._job: Future[None] | None = None
        self._closed = False
        self._outgoing: Outgoing | None = None

    @property
    def sending(self) -> bool:
        return self._outgoing is not None

    @property
    def at_work(self) -> bool:
        """Whether the disk is busy for this session, or a message is being sent."""
        return self._job is not None or self._outgoing is not None

    def list(self) -> None:
        """Lists the messages."""
        self._in_pool(self._maildir.list, self._listed)

    def send(self, step: SendMessage) -> None:
        """Opens a message and sends its first piece behind the reply."""
        self._in_pool(partial(Outgoing, self._maildir, step.message, step.lines), partial(self._found, step.reply))

    def read_on(self) -> None:
        """Sends the next piece. To be called when the one before was taken; the rest is waited for."""
        if self._job is None:
            assert self._outgoing is not None
            self._in_pool(self._outgoing.read_on, self._has_read)

    def update(self, step: Update) -> None:
        """Removes and moves."""
        self._in_pool(partial(self._maildir.update, step.deleted, step.read), self._updated)

    def close(self) -> None:
        """The session is over. What has not begun is not done any more: a slow disk has enough to do.

        A thread that is still reading must not lose its file: it is closed behind it.
        """
        self._closed = True
        if self._job is not None and self._job.cancel():
            self._job = None
        if self._outgoing is not None and self._job is None:
            self._outgoing.close()

    def _in_pool(self, work: Callable[[], object], tell: Callable[[Any], None]) -> None:
        """Has a thread do it. `tell` gets what came of it on the event loop: a value, an OSError or a MailboxError."""
        assert self._job is None
        self._owner.disk_begins()
        loop = self._shop.loop
        self._job = self._shop.pool.submit(
            _work, work, lambda outcome: loop.call_soon_threadsafe(self._worked, tell, outcome)
        )

    def _worked(self, tell: Callable[[Any], None], outcome: object) -> None:
        self._job = None
        if isinstance(outcome, Outgoing):
            self._outgoing = outcome
        if self._closed:
            self.close()
        else:
            self._owner.disk_is_done(tell, outcome)

    def _failed(self, outcome: object, message: LogMessage | None) -> bool:
        """Whether something went wrong on the disk, which is logged. Other errors are ours and are raised."""
        if not isinstance(outcome, Exception):
            return False
        if not isinstance(outcome, OSError | MailboxError):
            raise outcome
        self._debug("failed", reason=str(outcome))
        if message is not None:
            self._shop.log(message, self._owner.sid, mailbox=self._maildir.name, reason=str(outcome))
        return True

    def _debug(self, name: str, **fields: object) -> None:
        if "MAIL" in self._shop.log.options:
            self._shop.log.debug("MAIL", name, self._owner.sid, mailbox=self._maildir.name, **fields)

    def _listed(self, listing: Listing) -> None:
        owner = self._owner
        if self._failed(listing, DIR_ACCESS_FAILED):
            owner.answer(owner.machine.cannot_open())
            return
        self._shop.count("opened")
        tell_notes(self._shop, owner.sid, self._maildir.name, listing.notes)
        self._debug("opened", messages=len(listing.messages))
        owner.answer(owner.machine.opened(listing.messages))

    def _found(self, reply: bytes, outgoing: Outgoing) -> None:
        """The message is open and its first piece is read, or it is not to be had."""
        machine = self._owner.machine
        gone = isinstance(outgoing, MessageGone)
        if self._failed(outgoing, None if gone else READ_FAILED):
            self._owner.answer(machine.gone() if gone else machine.unreadable())
        else:
            self._send_piece(reply)

    def _has_read(self, outcome: object) -> None:
        if self._failed(outcome, READ_FAILED):
            self._owner.answer(self._owner.machine.broke_off())
        else:
            self._send_piece(b"")

    def _send_piece(self, reply: bytes) -> None:
        assert self._outgoing is not None
        piece = reply + self._outgoing.take()
        if self._outgoing.over:
            self._outgoing = None
            self._owner.machine.sent()
        self._owner.send_piece(piece)

    def _updated(self, done: Updated) -> None:
        owner = self._owner
        if self._failed(done, UPDATE_FAILED):
            owner.answer(owner.machine.cannot_update())
            return
        tell_notes(self._shop, owner.sid, self._maildir.name, done.notes)
        self._debug("updated", removed=done.removed, moved=done.moved, gone=done.vanished)
        owner.answer(owner.machine.updated(done.removed, done.failed))


def _work(work: Callable[[], object], tell_loop: Callable[[object], object]) -> None:
    """In a thread: an error is an outcome like any other."""
    outcome: object
    try:
        outcome = work()
    except Exception as error:
        outcome = error
    tell_loop(outcome)
