"""The driver of one proxy session: does what the machine says, and tells it what came of it. It decides nothing.

It holds the row of the table and the token; the two connections are `client_leg.py` and `backend_leg.py`, and, once
they are joined, `relay.py` works both. Whatever goes wrong in here costs this one session and is logged as a fault of
ours; the worker goes on.
"""

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from popular import messages
from popular.net.deadlines import Deadlines
from popular.net.handshake import Agreed, Failure
from popular.pdm import chain
from popular.pdm.chain import CannotTell, Decision
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Endpoint, Header
from popular.proxy import actions
from popular.proxy.backend import OFF
from popular.proxy.backend_leg import BackendLeg
from popular.proxy.client_leg import ClientLeg
from popular.proxy.header_reader import HeaderReader, introduction, local_end
from popular.proxy.machine import Machine
from popular.proxy.mailcheck import MailQuestion
from popular.proxy.phases import AWAITING_HEADER, ENDED, GREETED, RELAYING, STARTING_TLS, Phase
from popular.proxy.relay import LINGER_SECONDS, Relay
from popular.proxy.rules import Rules
from popular.proxy.story import NOTHING_MOVED, count_moved, tell, tell_handshake, tell_tls_failure
from supervisor.fault import kind_and_place_of
from supervisor.messages import SESSION_BUG
from supervisor.workshop import Standing

if TYPE_CHECKING:
    from popular.proxy.service import ProxyService

MOST_HELD = 1 << 14
"""Octets that a client may send ahead of an answer before it is no longer read."""
MODULE_SECONDS = 30.0
HANDSHAKE_SECONDS = 30.0
BACKEND_SECONDS = 20.0
"""For the connect, TLS and the login together; a backend that does not greet has them for the login once more."""
HEADER_SECONDS = 5.0
"""For the PROXY header: it is sent with the connection, by a machine that is near."""
CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""

_EXPIRED = {"auth": "auth_timeout", "session": "session_timeout"}
_SILENT_PHASES = (STARTING_TLS, RELAYING, ENDED, AWAITING_HEADER)
"""In these the client is not read here. (A tuple, not a set: the hash of an enum is computed in Python.)"""


class Session(Deadlines):
    """One client connection from accept to close."""

    __slots__ = (
        "_backend",
        "_began",
        "_check",
        "_client",
        "_connecting",
        "_counted",
        "_header",
        "_header_reader",
        "_relay",
        "_service",
        "_shop",
        "_shown",
        "_shown_at",
        "_token",
        "machine",
        "over",
        "peer",
        "rules",
        "sid",
        "started",
        "started_wall",
        "tls",
        "via",
    )

    def __init__(
        self, service: "ProxyService", token: int, connection: socket.SocketType, peer: tuple[Any, ...], rules: Rules
    ) -> None:
        shop = service.shop
        self.started = now = time.monotonic()
        self.started_wall = time.time()
        super().__init__(shop.wheel, now, service.authtimeout)
        self._service = service
        self._shop = shop
        self._token = token
        self.rules = rules
        self.peer = peer
        """Who the client is: by the PROXY header, if there is one."""
        self.via = ""
        """Who brought the PROXY header."""
        self.sid = shop.session_id(service.sidprefix)
        self.machine = Machine(rules, peer[0], peer[1], self.sid)
        self._client = ClientLeg(shop, connection, self)
        self._backend: BackendLeg | None = None
        self._relay: Relay | None = None
        self._check: MailQuestion | None = None
        self._began = now
        """When the step began whose time is taken: TLS, mail check, connect, or backend login."""
        self._connecting = False
        self._counted = NOTHING_MOVED
        self._header_reader: HeaderReader | None = None
        self._header: Header | None = None
        self._shown = ENDED
        self._shown_at = 0.0
        self.tls: Agreed | None = None
        self.over = False

    def begin(self) -> None:
        """Takes the token and greets."""
        self._shop.admit(self._token, self, self._service.started[self.rules.vserv])
        self._show(self.machine.phase)
        self.look_at(self.started + self._service.first_look)
        self._do(self.machine.begin)
        self._mind_if_greeted()

    def _mind_if_greeted(self) -> None:
        if not self.over and self.machine.phase is GREETED:  # not while TLS is being set up
            self._client.mind()

    # Actions

    def _do(self, step: Callable[..., list[actions.Action]], *facts: Any) -> None:
        """Lets the machine take a step and does what it says, in order.

        An error of ours ends this session and nothing else.
        """
        try:
            # (`step(*facts)` would leave the interpreter's loop and enter it anew, at each step.)
            for action in step(facts[0]) if facts else step():
                if self.over:
                    return
                _DEEDS[type(action)](self, action)
            if not self.over and self._client.paused:
                self._client.resume()
        except Exception as error:
            self.fault(error)

    def fault(self, error: Exception) -> None:
        """An error of ours, in the session or in one of its connections. See client_leg.Owner, backend_leg.Owner."""
        self._shop.log(SESSION_BUG, self.sid, error=kind_and_place_of(error))
        self.end("internal_error")

    def _send(self, action: actions.Send) -> None:
        self._client.send(action.data)

    # The PROXY header

    def _await_header(self, _action: actions.AwaitHeader) -> None:
        self.expect_within(HEADER_SECONDS)
        self._header_reader = HeaderReader(self._shop.loop, self._client.channel.connection, self)

    def introduced(self, header: Header) -> None:
        """See header_reader.Owner."""
        self._header_reader = None
        self.expect_nothing()
        self._header = header
        self.via = self.peer[0]
        if header.source is not None:
            self.peer = header.source
        self._do(self.machine.introduced, self.peer)
        if not self.over:
            self._show(self.machine.phase)
        self._mind_if_greeted()

    def header_failed(self, reason: str) -> None:
        """See header_reader.Owner."""
        self._header_reader = None
        self._do(self.machine.header_failed, reason)

    # The modules, and the mail check

    def _ask(self, action: actions.Ask) -> None:
        service = self._service
        hide_unknown = not self.rules.fallback
        if service.modules_block:
            self.expect_within(MODULE_SECONDS)
            service.ask_in_pool(action.question, hide_unknown, self._decided)
        else:
            record = chain.Record()
            decision = chain.ask(service.modules, action.question, hide_unknown=hide_unknown, record=record)
            service.count_lookups(record)
            self._decided(decision)

    def _decided(self, decision: Decision) -> None:
        if self.over:
            return
        if "AUTH" in self._shop.log.options:
            reason = decision.reason if isinstance(decision, CannotTell) else ""
            self._shop.log.debug("AUTH", "decision", self.sid, decision=type(decision).__name__, reason=reason)
        self.expect_nothing()
        self._do(self.machine.decided, decision)

    def _check_mail(self, action: actions.CheckMail) -> None:
        service, backend = self._service, action.backend
        self.expect_within(service.checktimeout)
        self._began = time.monotonic()
        try:
            self._check = MailQuestion(
                self._shop.loop, backend.address, service.checkport, action.mailbox, self._checked
            )
        except OSError as error:
            self._checked(None, error.strerror or type(error).__name__)

    def _checked(self, mail: Mail | None, reason: str) -> None:
        self._check = None
        self.expect_nothing()
        self._service.ledger.observe("mail_check_duration", time.monotonic() - self._began)
        if mail is None:
            self._shop.log(messages.CHECK_FAILED, self.sid, backend=self.machine.backend, reason=reason)
        self._do(self.machine.checked, mail)

    # The backend

    def _connect(self, action: actions.Connect) -> None:
        self.expect_within(BACKEND_SECONDS)
        self._began = time.monotonic()
        self._connecting = True
        backend = action.backend
        first = b"" if backend.sendproxy == OFF else introduction(backend.sendproxy, self.peer, self._local())
        # No `get`: where TLS was asked for and is not there, nothing may be said in clear.
        tls = None if backend.tls == OFF else self._service.backend_tls[backend.id]
        try:
            self._backend = BackendLeg(self._shop.loop, backend, action.greets, self, tls, first)
        except OSError as error:
            self.backend_broke(error.strerror or type(error).__name__)

    def _local(self) -> Endpoint | None:
        """Where the client was accepted: by us, or by whoever brought its PROXY header."""
        if self._header is not None and self._header.destination is not None:
            return self._header.destination
        return local_end(self._client.channel.connection)

    def backend_connected(self) -> None:
        """See backend_leg.Owner."""
        self.expect_within(BACKEND_SECONDS)
        self._connection_stands()
        self._do(self.machine.connected)

    def backend_says(self, data: bytes) -> None:
        """See backend_leg.Owner."""
        if not self.over:
            if self._connecting:
                self._connection_stands()
            self._do(self.machine.backend_says, data)

    def _connection_stands(self) -> None:
        """The backend is there; from here on the login is timed."""
        began, self._began = self._began, time.monotonic()
        self._connecting = False
        self._service.ledger.observe("backend_connect_duration", self._began - began, self.machine.backend)

    def backend_broke(self, reason: str, word: str = "") -> None:
        """See backend_leg.Owner. `word` is for the counter, see Machine.backend_failed."""
        self._backend = None
        self.expect_nothing()
        self._do(self.machine.backend_failed, reason, word)

    def _send_backend(self, action: actions.SendBackend) -> None:
        assert self._backend is not None
        self._backend.send(action.data)

    def _start_backend_tls(self, _action: actions.StartBackendTls) -> None:
        assert self._backend is not None
        self._backend.start_tls()

    def backend_tls_up(self) -> None:
        """See backend_leg.Owner."""
        self._do(self.machine.backend_tls_up)

    def _leave_backend(self, _action: object = None) -> None:
        self.expect_nothing()
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def _logged_in(self, _action: actions.LoggedIn) -> None:
        service, vserv = self._service, self.rules.vserv
        self.login_done(service.sessiontimeout)
        service.ledger.count("logins", None, vserv)
        service.ledger.observe("login_duration", time.monotonic() - self.started, vserv)
        self._show(self.machine.phase)

    def _start_relay(self, action: actions.Relay) -> None:
        client, backend, ledger, ident = self._client, self._backend, self._service.ledger, self.machine.backend
        assert backend is not None
        ledger.count("backend_logins", None, ident)
        ledger.observe("backend_login_duration", time.monotonic() - self._began, ident)
        self._relay = Relay(
            client.channel,
            backend.channel,
            self._service.pipes,
            self._shop.clock,
            self._relay_over,
            self.fault,
            client.done,
        )
        self._relay.begin(client.hand_over() + action.to_client, action.to_backend)

    def _relay_over(self, ending: str) -> None:
        if ending == "null_byte":
            self._note(self.machine.null_byte())
        self.end(ending)

    # Log, counters, end

    def _note(self, action: actions.Note) -> None:
        self._shop.log(action.message, self.sid, **action.fields)

    def _count(self, action: actions.Count) -> None:
        self._service.ledger.count(action.counter, action.label, action.ident)

    def _end(self, action: actions.End) -> None:
        """Now, or when the last reply has left."""
        if self._client.finish(action.ending):
            self.end(action.ending)
        else:
            self.expect_within(CLOSING_SECONDS)

    # The client

    def client_says(self, data: bytes) -> None:
        """See client_leg.Owner."""
        self._do(self.machine.client_says, data)
        if len(self.machine.lines.held) > MOST_HELD and not self.over:
            self._client.mind()

    def client_ended(self) -> None:
        """See client_leg.Owner."""
        self._do(self.machine.client_eof)
        if not self.over and self._relay is None:
            self._client.mind()

    def listens(self) -> bool:
        """See client_leg.Owner."""
        machine = self.machine
        return machine.phase not in _SILENT_PHASES and len(machine.lines.held) <= MOST_HELD

    def _start_tls(self, _action: actions.StartTls) -> None:
        self.expect_within(HANDSHAKE_SECONDS)
        self._began = time.monotonic()
        self._client.start_tls(self._service.tls[self.rules.vserv])

    def tls_up(self, agreed: Agreed) -> None:
        """See client_leg.Owner."""
        self.expect_nothing()
        self.tls = agreed
        self._service.ledger.observe("tls_handshake_duration", time.monotonic() - self._began)
        tell_handshake(self._shop, self.sid, agreed)
        self._do(self.machine.tls_up, agreed.certificate_name)

    def tls_failed(self, failure: Failure) -> None:
        """See client_leg.Owner."""
        tell_tls_failure(self._shop, self, failure)
        self.end("tls_failed")

    # Time

    def idle_at(self) -> float:
        """See Deadlines."""
        relay = self._relay
        if relay is not None:
            return relay.active + (LINGER_SECONDS if relay.lingers else self._service.proxytimeout)
        return self._client.heard + self._service.idletimeout

    def expired(self, what: str) -> None:
        """See Deadlines.

        A deadline closes without a word (RFC 1939 section 3); only a step has another way to go on.
        """
        if what == "step":
            self._step_expired()
        elif what == "idle":
            self._idle_for_too_long()
        else:
            self.end(_EXPIRED[what])

    def _idle_for_too_long(self) -> None:
        if self._relay is None:
            self.end("idle_timeout")
        else:
            self.end("client_closed" if self._relay.lingers else "proxy_timeout")

    def _step_expired(self) -> None:
        if self._client.last_ending:
            self.end(self._client.last_ending)
        elif self.machine.phase is STARTING_TLS:
            self.tls_failed(Failure("timeout", f"not done within {HANDSHAKE_SECONDS:.0f} s"))
        elif self._header_reader is not None:
            self._header_reader.close()
            self.header_failed(f"no header within {HEADER_SECONDS:g} s")
        elif self._check is not None:
            self._check.close()
            self._checked(None, "no answer in time")
        elif self._backend is not None:
            reason = self._backend.describe_silence()
            self._leave_backend()
            self.backend_broke(reason, "timeout")
        else:
            self._do(self.machine.decided, CannotTell("no answer in time"))

    # The table, and the end

    def standing(self) -> Standing:
        """See supervisor.workshop.Session."""
        relay = self._relay
        if relay is None:
            return Standing.IDLE if self.machine.phase is Phase.SIMULATING else Standing.NOT_LOGGED_IN
        if relay.watch.quit:
            return Standing.COMMITTING
        return Standing.IN_TRANSFER if relay.busy else Standing.IDLE

    def refresh(self) -> None:
        """See supervisor.workshop.Session."""
        if self._relay is not None and self._relay.lingers:
            self.set_alarm()
        phase = self.machine.phase
        if phase is not self._shown or (self._relay is not None and self._relay.active > self._shown_at):
            self._show(phase)
            self._counted = count_moved(self._service.ledger, self._client, self._relay, self._counted)

    def _show(self, phase: Phase) -> None:
        self._shown = phase
        self._shown_at = self._shop.clock.now
        machine, client, relay = self.machine, self._client, self._relay
        received, sent, deletes = client.received, client.sent, 0
        if relay is not None:
            received += relay.from_client
            sent += relay.to_client
            deletes = relay.watch.deletes
        self._shop.write_row(
            self._token,
            phase,
            self.started_wall,
            time.time(),
            self.sid.encode(),
            self.peer[0].encode(),
            self.peer[1],
            self.rules.vserv.encode(),
            machine.user.encode(),
            machine.backend.encode(),
            machine.target.encode(),
            received,
            sent,
            deletes,
        )

    def end(self, ending: str) -> None:
        """Once, for one reason: closes everything, frees the row, gives the token back, writes the story."""
        if self.over:
            return
        self.over = True
        self.no_alarm()
        if self._check is not None:
            self._check.close()
        if self._header_reader is not None:
            self._header_reader.close()
        client, relay = self._client, self._relay
        count_moved(self._service.ledger, client, relay, self._counted)
        received, sent = client.received, client.sent
        if relay is not None:
            relay.close()
            received += relay.from_client
            sent += relay.to_client
            self._relay = None
        self._leave_backend()
        client.close(ending)
        tell(self._shop, self, ending, received, sent)
        self._shop.release(self._token, ending)
        self._service.session_over()


_DEEDS: dict[type, Callable[[Session, Any], None]] = {
    actions.Send: Session._send,
    actions.AwaitHeader: Session._await_header,
    actions.Ask: Session._ask,
    actions.CheckMail: Session._check_mail,
    actions.Connect: Session._connect,
    actions.SendBackend: Session._send_backend,
    actions.StartBackendTls: Session._start_backend_tls,
    actions.LeaveBackend: Session._leave_backend,
    actions.StartTls: Session._start_tls,
    actions.LoggedIn: Session._logged_in,
    actions.Relay: Session._start_relay,
    actions.Note: Session._note,
    actions.Count: Session._count,
    actions.End: Session._end,
}
