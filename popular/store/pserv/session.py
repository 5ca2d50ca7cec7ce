"""One `pserv` session: carries out the verbs of its machine and tells it what came of them. It decides nothing.

It has a connection to the client, deadlines, and a mailbox (`mailbox.py`: whatever touches the disk). A client that
does not take what it asked for is not read, and nothing is fetched for it. A session that breaks changes nothing in the
mailbox, and costs itself only: the worker goes on.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from popular.messages import TLS_FAILED
from popular.net.client import ClientConnection, ClientOwner
from popular.net.deadlines import Deadlines
from popular.net.handshake import Agreed, Failure, log_handshake
from popular.protocol.xpop import Request
from popular.store.maildir.listing import StoredMessage
from popular.store.maildir.maildir import Maildir
from popular.store.pserv import session_log
from popular.store.pserv.machine import Machine
from popular.store.pserv.mailbox import Mailbox
from popular.store.pserv.phases import ASKED_NOTHING, ENDING, LISTING, OPENING, SENDING, SERVING, UPDATING, Want
from popular.store.pserv.row import SessionRow
from popular.tls.contexts import TlsSettings
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG
from supervisor.runtime.messages import Message as LogMessage
from supervisor.serving.context import WorkerContext
from supervisor.serving.session import CutCost, Whose

SID_PREFIX = "pserv"
"""How a session's id begins until its request names one."""

_CUT_COSTS = {
    OPENING: CutCost.IN_TRANSFER,
    SERVING: CutCost.IDLE,
    SENDING: CutCost.IN_TRANSFER,
    LISTING: CutCost.IN_TRANSFER,
    UPDATING: CutCost.COMMITTING,
    ENDING: CutCost.COMMITTING,
}
"""What would be lost in each phase after the request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionSettings:
    """What a session needs to know of the config under which it was accepted."""

    mailboxdir: Path
    capabilities: Sequence[str]
    requesttimeout: float
    idletimeout: float
    sessiontimeout: float
    tls_settings: TlsSettings | None
    """How TLS is spoken from the start; None: not at all."""
    started_cell: int
    """The cell that counts the sessions that have begun."""


class Session(ClientOwner):
    """One connection from accept to close: the supervisor's `Session`, its machine's `Verbs`, and a `ClientOwner` and
    `DeadlineOwner`. What a method of these is for, they tell."""

    __slots__ = (
        "_accepted_at",
        "_awaited_since",
        "_client",
        "_context",
        "_deadlines",
        "_machine",
        "_mailbox",
        "_over",
        "_peer",
        "_row",
        "_row_number",
        "_settings",
        "_shaking_hands",
    )

    def __init__(
        self,
        *,
        context: WorkerContext,
        settings: SessionSettings,
        row_number: int,
        fd: int,
        peer: tuple[str, int],
    ) -> None:
        self._context = context
        self._settings = settings
        self._row_number = row_number
        self._peer = peer
        wall = time.time()
        self._accepted_at = self._awaited_since = time.monotonic()
        """And since when the request could have come."""
        self.sid = context.session_id(SID_PREFIX, wall)
        self._row = SessionRow(context, row_number, self.sid, started=wall)
        self._client = ClientConnection(context, fd, self)
        self._deadlines = Deadlines(context.wheel, self, self._accepted_at + settings.requesttimeout)
        self._mailbox: Mailbox | None = None
        self._machine = Machine(self, settings.capabilities)
        self._over = False
        self._shaking_hands = False

    def begin(self) -> None:
        """Takes the token and waits for the request."""
        self._context.register(self._row_number, self, self._settings.started_cell)
        self._row.show(self._machine, self._peer, self._client)
        self._context.log.debug("NET", "accepted", self.sid, client=self._peer[0], port=self._peer[1])
        self._deadlines.schedule()
        if self._settings.tls_settings is None:
            self._client.set_reading(True)
        else:
            self._shaking_hands = True
            self._client.start_tls(self._context.clock, self._settings.tls_settings, self)

    # TLS, before the machine has heard of anything

    def tls_up(self, agreed: Agreed) -> None:
        self._shaking_hands = False
        self._awaited_since = self._context.clock.now
        log_handshake(self._context, self.sid, agreed, seconds=time.monotonic() - self._accepted_at)
        self._client.set_reading(True)

    def tls_failed(self, failure: Failure) -> None:
        self._context.count("tls_failures", failure.why)
        client = self._peer[0]
        self._context.log(TLS_FAILED, self.sid, client=client, why=failure.why, reason=failure.reason)
        self.end("tls_failed", failure.reason)

    # What happens is told to the machine, and what it wants then is seen to

    def client_says(self, data: bytes) -> None:
        self._machine.says(data)
        self._see_to()

    def client_eof(self) -> None:
        self._machine.client_ends()
        self._see_to()

    def client_took_all(self) -> None:
        self._see_to()

    def client_broke(self) -> None:
        self._machine.reset()

    def fault(self, error: Exception) -> None:
        """An error of ours ends this session and nothing else."""
        self._context.log(SESSION_BUG, self.sid, error=kind_and_location_of(error))
        self.end("internal_error")

    def idle_at(self) -> float:
        """See DeadlineOwner. A client that takes a large message is not idle."""
        return max(self._client.heard, self._client.took) + self._settings.idletimeout

    def expired(self, what: str) -> None:
        if self._shaking_hands:
            self.tls_failed(Failure("timeout", "not done within requesttimeout"))
            return
        self._tell_machine(self._machine.expired, what)

    def _tell_machine(self, entry: Callable[..., None], *facts: Any) -> None:
        """Tells the machine something that does not come from the client."""
        if self._over:
            return
        try:
            entry(*facts)
            self._see_to()
        except Exception as error:
            self.fault(error)

    def _see_to(self) -> None:
        """Sends what was gathered, and waits for what the machine wants."""
        if self._over:
            return
        client, machine = self._client, self._machine
        while True:
            if self._row.phase < SERVING <= machine.phase:
                # First: whoever has the reply finds the session under its own id.
                self._row.show(machine, self._peer, client)
            if not client.flush():
                machine.reset()
                return
            if client.write_blocked:
                client.set_reading(False)
                return
            if machine.wants is not Want.ROOM:
                break
            machine.proceed()
            if self._over:
                return
        wants = machine.wants  # as it is now: what TLS has decrypted already, `listen` hands over at once
        client.set_reading(wants is Want.OCTETS)
        if wants is Want.TURN:
            self._context.loop.call_soon(self._tell_machine, machine.proceed)

    # Verbs

    def send(self, reply: bytes) -> None:
        self._client.put(reply)

    def send_content(self, piece: bytes) -> None:
        self._client.put_content(piece)

    def open_mailbox(self, request: Request) -> None:
        if request.sid != "-":
            self._context.log.debug("NET", "named", self.sid, to=request.sid)
            self.sid = request.sid
            if self._client.channel.syscalls is not None:
                self._client.channel.syscalls.sid = self.sid
        self._row.identify(self.sid, request)
        self._deadlines.login_done(self._settings.sessiontimeout)
        maildir = Maildir(self._settings.mailboxdir, request.mailbox)
        self._mailbox = Mailbox(
            context=self._context, maildir=maildir, sid=self.sid, machine=self._machine, tell_machine=self._tell_machine
        )
        self._mailbox.list()

    def open_message(self, message: StoredMessage, lines: int | None) -> None:
        assert self._mailbox is not None
        self._mailbox.open(message, lines)

    def read_on(self) -> None:
        assert self._mailbox is not None
        self._mailbox.read_on()

    def update(self, deleted: Sequence[StoredMessage], read: Sequence[StoredMessage]) -> None:
        assert self._mailbox is not None
        self._mailbox.update(deleted, read)

    def expect_within(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)

    def expect_nothing(self) -> None:
        self._deadlines.expect_nothing()

    def note(self, message: LogMessage, **fields: object) -> None:
        self._context.log(message, self.sid, **fields)

    def count(self, counter: str) -> None:
        self._context.count(counter)

    def end(self, ending: str, reason: str = "") -> None:
        """See Verbs, and supervisor.serving.session.Session: closes everything, frees the row, gives the token back.

        Once, for one reason; a machine that did not ask for it is not told anything any more.
        """
        if self._over:
            return
        self._over = True
        self._deadlines.stop()
        if self._mailbox is not None:
            self._mailbox.close()
            self._mailbox = None
        self._client.close(after_quit=ending == "quit")
        seconds = time.monotonic() - self._accepted_at
        machine = self._machine
        session_log.write_end(
            self._context,
            self.sid,
            client=self._peer[0],
            request=machine.request,
            ending=ending,
            reason=reason,
            seconds=seconds,
            retrieved=machine.retrieved,
            deleted=machine.deleted,
            received=self._client.received,
            sent=self._client.sent,
        )
        self._context.unregister(self._row_number, ending, seconds)
        del self._machine  # it holds us: so the session is free without the collector

    # The supervisor, and the table

    def whose(self) -> Whose:
        return Whose(self._accepted_at, self._peer[0], ())

    def cut_cost(self) -> CutCost:
        if self._mailbox is None:
            return CutCost.NOT_LOGGED_IN
        cost = _CUT_COSTS[self._machine.phase]
        return CutCost.IN_TRANSFER if cost is CutCost.IDLE and self._client.write_blocked else cost

    def displaceable(self) -> tuple[str, float] | None:
        """See supervisor.serving.session.Session."""
        return (self._peer[0], self._awaited_since) if self._machine.phase is ASKED_NOTHING else None

    def refresh(self) -> None:
        self._row.refresh(self._machine, self._peer, self._client)
