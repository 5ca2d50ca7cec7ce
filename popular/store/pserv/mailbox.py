"""The mailbox of one session, seen from the event loop: whatever touches the disk runs in the pool, one job at a time.

What comes of a job is told to the machine. When the session is over before a job is done, the job is finished and its
result forgotten; nothing stays open.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from popular.store.maildir.listing import Listing, StoredMessage
from popular.store.maildir.maildir import MailboxError, Maildir, MessageGone, Updated
from popular.store.pserv.machine import Machine
from popular.store.pserv.outgoing import Outgoing
from supervisor.serving.context import WorkerContext
from supervisor.serving.threadpool import NoThread


class TellMachine(Protocol):
    """Calls something that tells the machine a fact; then the session sees to what the machine wants."""

    def __call__(self, entry: Callable[..., None], *facts: Any) -> None: ...


class Mailbox:
    """One mailbox."""

    __slots__ = ("_closed", "_context", "_job", "_machine", "_maildir", "_outgoing", "_sid", "_tell_machine")

    def __init__(
        self, *, context: WorkerContext, maildir: Maildir, sid: str, machine: Machine, tell_machine: TellMachine
    ) -> None:
        self._context = context
        self._maildir = maildir
        self._sid = sid
        self._machine = machine
        self._tell_machine = tell_machine
        self._job: Future[None] | None = None
        self._closed = False
        self._outgoing: Outgoing | None = None
        """The message that is being sent, until its last piece is read."""

    def list(self) -> None:
        """Lists the messages."""
        self._in_pool(self._maildir.list, self._listed)

    def open(self, message: StoredMessage, lines: int | None) -> None:
        """Opens a message and reads its first piece."""
        self._in_pool(partial(Outgoing, self._maildir, message, lines), self._opened)

    def read_on(self) -> None:
        """Reads the next piece."""
        assert self._outgoing is not None
        self._in_pool(self._outgoing.read_on, self._read)

    def update(self, deleted: Sequence[StoredMessage], read: Sequence[StoredMessage]) -> None:
        """Removes and moves."""
        self._in_pool(partial(self._maildir.update, deleted, read), self._updated)

    def close(self) -> None:
        """The session is over. What has not begun is not done any more: a slow disk has enough to do.

        A thread that is still reading must not lose its file: it is closed after it.
        """
        self._closed = True
        if self._job is not None and self._job.cancel():
            self._job = None
        if self._outgoing is not None and self._job is None:
            self._outgoing.close()

    def _in_pool(self, work: Callable[[], object], tell: Callable[[Any], None]) -> None:
        """Has a thread do it. `tell` gets what came of it on the event loop: a value, an OSError or a MailboxError."""
        assert self._job is None
        loop = self._context.loop
        try:
            self._job = self._context.pool.submit(
                _work, work, lambda outcome: loop.call_soon_threadsafe(self._worked, tell, outcome)
            )
        except NoThread as error:
            loop.call_soon(self._worked, tell, error)

    def _worked(self, tell: Callable[[Any], None], outcome: object) -> None:
        self._job = None
        if isinstance(outcome, Outgoing):
            self._outgoing = outcome
        if self._closed:
            self.close()
        else:
            self._tell_machine(tell, outcome)

    def _failed(self, outcome: object) -> bool:
        """Whether something went wrong on the disk. Other errors are ours and are raised."""
        if not isinstance(outcome, Exception):
            return False
        if not isinstance(outcome, OSError | MailboxError):
            raise outcome
        self._debug("failed", reason=str(outcome))
        return True

    def _debug(self, name: str, **fields: object) -> None:
        if "MAIL" in self._context.log.options:
            self._context.log.debug("MAIL", name, self._sid, mailbox=self._maildir.name, **fields)

    # What came of it

    def _listed(self, listing: Listing) -> None:
        if self._failed(listing):
            self._machine.cannot_open(str(listing))
            return
        self._debug("opened", messages=len(listing.messages))
        self._machine.opened(listing.messages, listing.notes)

    def _opened(self, outgoing: Outgoing) -> None:
        if not self._failed(outgoing):
            self._give_piece(outgoing)
        elif isinstance(outgoing, MessageGone):
            self._machine.gone()
        else:
            self._machine.unreadable(str(outgoing))

    def _read(self, outcome: object) -> None:
        if self._failed(outcome):
            self._machine.broke_off(str(outcome))
        else:
            assert self._outgoing is not None
            self._give_piece(self._outgoing)

    def _give_piece(self, outgoing: Outgoing) -> None:
        if outgoing.over:
            self._outgoing = None
        self._machine.piece(outgoing.take(), last=outgoing.over)

    def _updated(self, done: Updated) -> None:
        if self._failed(done):
            self._machine.cannot_update(str(done))
            return
        self._debug("updated", removed=done.removed, moved=done.moved, gone=done.vanished)
        self._machine.updated(done.removed, done.failed, done.notes)


def _work(work: Callable[[], object], tell_loop: Callable[[object], object]) -> None:
    """In a thread: an error is an outcome like any other."""
    outcome: object
    try:
        outcome = work()
    except Exception as error:
        outcome = error
    tell_loop(outcome)
