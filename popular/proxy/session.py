"""The driver of one proxy session: does what the machine says, and tells it what came of it. It decides nothing.

It holds the connection to the client, the row of the table and the token; the backend's side is `backend_leg.py` and,
once the two are joined, `relay.py`. Whatever goes wrong in here costs this one session and is logged as a fault of
ours; the worker goes on.
"""

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from popular import messages
from popular.net.channel import Channel, TlsChannel
from popular.net.deadlines import Deadlines
from popular.pdm import chain
from popular.pdm.chain import CannotTell, Decision
from popular.protocol.mailcheck import Mail
from popular.proxy import actions
from popular.proxy.backend_leg import BackendLeg
from popular.proxy.machine import Machine, Phase, Rules
from popular.proxy.mailcheck import MailQuestion
from popular.proxy.relay import Relay
from popular.proxy.story import debug_dialogue, place_of, tell
from supervisor.eventloop import READ, WRITE
from supervisor.messages import SESSION_BUG
from supervisor.workshop import Standing

if TYPE_CHECKING:
    from popular.proxy.service import ProxyService

READ_SIZE = 4096
MOST_HELD = 1 << 14
"""Octets that a client may send ahead of an answer before it is no longer read."""
MODULE_SECONDS = 30.0
BACKEND_SECONDS = 20.0
"""For the connect, and again for the login."""
CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""

_EXPIRED = {"auth": "auth_timeout", "session": "session_timeout"}
_SILENT_PHASES = frozenset({Phase.STARTING_TLS, Phase.RELAYING, Phase.ENDED})
"""In these the client is not read here."""
_LASTING_PHASES = frozenset({Phase.GREETED, Phase.SIMULATING})
"""The table shows these at once, the short ones in between when they last until the next `refresh`."""


class Session(Deadlines):
    """One client connection from accept to close."""

    __slots__ = (
        "_check",
        "_client_done",
        "_identity",
        "_last_ending",
        "_leg",
        "_out",
        "_phase",
        "_relay",
        "_service",
        "_shop",
        "_shown",
        "_shown_at",
        "_token",
        "client",
        "from_client",
        "machine",
        "over",
        "peer",
        "rules",
        "sid",
        "started",
        "started_wall",
        "to_client",
    )

    def __init__(
        self, service: "ProxyService", token: int, connection: socket.socket, peer: tuple[Any, ...], rules: Rules
    ) -> None:
        shop = service.shop
        self.started = time.monotonic()
        self.started_wall = time.time()
        super().__init__(shop.wheel, self.started, service.authtimeout)
        self._service = service
        self._shop = shop
        self._token = token
        self.rules = rules
        self.peer = peer
        self.client = Channel(shop.loop, connection, self._client_ready)
        self._client_done = False
        self._leg: BackendLeg | None = None
        self._relay: Relay | None = None
        self._check: MailQuestion | None = None
        self._out = b""
        self._last_ending = ""
        self._phase = self._shown = Phase.ENDED
        self._shown_at = 0.0
        self.over = False
        self.from_client = 0
        self.to_client = 0
        self.sid = shop.session_id(service.sidprefix)
        self.machine = Machine(rules, peer[0], self.sid)
        self._identity = (self.sid.encode(), peer[0].encode(), peer[1], rules.vserv.encode())

    def begin(self) -> None:
        """Takes the token and greets."""
        self._shop.admit(self._token, self)
        self._do(self.machine.begin)
        if not self.over:
            self.set_alarm()

    # Actions

    def _do(self, step: Callable[..., list[actions.Action]], *facts: Any) -> None:
        """Lets the machine take a step and does what it says, in order; neighbouring replies leave in one piece.

        An error of ours ends this session and nothing else.
        """
        try:
            said = b""
            for action in step(*facts):
                if type(action) is actions.Send:
                    said += action.data
                    continue
                if said:
                    self._send(said)
                    said = b""
                if self.over:
                    return
                _DEEDS[type(action)](self, action)
            if said:
                self._send(said)
            self._settle()
        except Exception as error:
            self._shop.log(SESSION_BUG, self.sid, error=f"{type(error).__name__} at {place_of(error)}")
            self.end("internal_error")

    def _settle(self) -> None:
        """After a step: the row, and whether the client is read on."""
        if self.over or self._relay is not None:
            return
        machine = self.machine
        if machine.phase is not self._phase:
            self._phase = machine.phase
            if self._phase in _LASTING_PHASES:
                self._show(self._phase)
            self._mind_client()
        elif self._out or self._client_done or machine.held:
            self._mind_client()

    def _send(self, data: bytes) -> None:
        if self.over:
            return
        if "POP" in self._shop.log.options:
            debug_dialogue(self._shop.log, self.sid, "server", data)
        self.to_client += len(data)
        if not self._out:
            try:
                sent = self.client.send(data)
            except OSError:
                self.end("client_reset")
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._out += data

    def _ask(self, action: actions.Ask) -> None:
        service = self._service
        hide_unknown = not self.rules.fallback
        if service.modules_block:
            self.expect_within(MODULE_SECONDS)
            service.ask_in_pool(action.question, hide_unknown, self._decided)
        else:
            self._decided(chain.ask(service.modules, action.question, hide_unknown=hide_unknown))

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
        try:
            self._check = MailQuestion(self._shop.loop, backend.host, service.checkport, action.mailbox, self._checked)
        except OSError as error:
            self._checked(None, error.strerror or type(error).__name__)

    def _checked(self, mail: Mail | None, reason: str) -> None:
        self._check = None
        self.expect_nothing()
        if mail is None:
            self._shop.log(messages.CHECK_FAILED, self.sid, backend=self.machine.backend, reason=reason)
        self._do(self.machine.checked, mail)

    def _connect(self, action: actions.Connect) -> None:
        self.expect_within(BACKEND_SECONDS)
        try:
            self._leg = BackendLeg(self._shop.loop, action.backend, action.greets, self)
        except OSError as error:
            self.backend_broke(error.strerror or type(error).__name__)

    def backend_connected(self) -> None:
        """See backend_leg.Owner."""
        self.expect_within(BACKEND_SECONDS)
        self._do(self.machine.connected)

    def backend_says(self, data: bytes) -> None:
        """See backend_leg.Owner."""
        if not self.over:
            self._do(self.machine.backend_says, data)

    def backend_broke(self, reason: str) -> None:
        """See backend_leg.Owner."""
        self._leg = None
        self.expect_nothing()
        self._do(self.machine.backend_failed, reason)

    def _send_backend(self, action: actions.SendBackend) -> None:
        assert self._leg is not None
        self._leg.send(action.data)

    def _leave_backend(self, _action: object = None) -> None:
        self.expect_nothing()
        if self._leg is not None:
            self._leg.close()
            self._leg = None

    def _logged_in(self, _action: actions.LoggedIn) -> None:
        self.login_done(self._service.sessiontimeout)

    def _start_relay(self, action: actions.Relay) -> None:
        assert self._leg is not None
        self._relay = Relay(self.client, self._leg.channel, self._service.pipes, self.end, self._client_done)
        waiting, self._out = self._out, b""
        self._show(self.machine.phase)
        self._relay.begin(waiting + action.to_client, action.to_backend)

    def _note(self, action: actions.Note) -> None:
        self._shop.log(action.message, self.sid, **action.fields)

    def _count(self, action: actions.Count) -> None:
        self._shop.count(action.counter, action.label)

    def _end(self, action: actions.End) -> None:
        """Now, or when the last reply has left."""
        if not self._out:
            self.end(action.ending)
            return
        self._last_ending = action.ending
        self.expect_within(CLOSING_SECONDS)

    # TLS

    def _start_tls(self, _action: actions.StartTls) -> None:
        self.client.want(0)
        try:
            context = self._service.contexts[self.rules.vserv]
            self.client = TlsChannel(self._shop.loop, self.client.connection, context, self._shake_hands)
        except OSError as error:
            self._tls_failed(error)
            return
        self.client.want(READ)

    def _shake_hands(self, _events: int) -> None:
        assert isinstance(self.client, TlsChannel)
        try:
            wanted = self.client.handshake()
        except OSError as error:
            self._tls_failed(error)
            return
        if wanted is None:
            self.client.hand_to(self._client_ready)
            self._do(self.machine.tls_up)
            if not self.over and self.client.pending:
                self._read_client()
        else:
            self.client.want(WRITE if wanted == "write" else READ)

    def _tls_failed(self, error: OSError) -> None:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        self._shop.log(messages.TLS_FAILED, self.sid, client=self.peer[0], reason=reason)
        self.end("tls_failed")

    # The client

    def _client_ready(self, events: int) -> None:
        if events & WRITE:
            self._client_takes_more()
        elif not self._client_done:
            self._read_client()

    def _read_client(self) -> None:
        while True:
            try:
                data = self.client.receive(READ_SIZE)
            except OSError:
                self.end("client_reset")
                return
            if data is None:
                return
            self.heard = time.monotonic()
            if not data:
                self._client_done = True
                self._do(self.machine.client_eof)
                return
            self.from_client += len(data)
            if "POP" in self._shop.log.options:
                debug_dialogue(self._shop.log, self.sid, "client", data)
            self._do(self.machine.client_says, data)
            if not self.client.pending or not self._reads_client:
                return

    @property
    def _reads_client(self) -> bool:
        """Whether the client is read: not while it is ahead of us, with answers not taken or questions not answered."""
        machine = self.machine
        return not (
            self.over or self._out or self._client_done or machine.phase in _SILENT_PHASES or machine.held > MOST_HELD
        )

    def _mind_client(self) -> None:
        if self.machine.phase is not Phase.STARTING_TLS:
            self.client.want((READ if self._reads_client else 0) | (WRITE if self._out else 0))

    def _client_takes_more(self) -> None:
        try:
            self._out = self._out[self.client.send(self._out) :]
        except OSError:
            self.end("client_reset")
            return
        if self._out:
            return
        if self._last_ending:
            self.end(self._last_ending)
            return
        self._mind_client()
        if self.client.pending and self._reads_client:
            self._read_client()

    # Time

    def idle_at(self) -> float:
        """See Deadlines."""
        relay = self._relay
        if relay is not None:
            return relay.active + self._service.proxytimeout
        return self.heard + self._service.idletimeout

    def expired(self, what: str) -> None:
        """See Deadlines.

        A deadline closes without a word (RFC 1939 section 3); only a step has another way to go on.
        """
        if what == "step":
            self._step_expired()
        elif what == "idle":
            self.end("idle_timeout" if self._relay is None else "proxy_timeout")
        else:
            self.end(_EXPIRED[what])

    def _step_expired(self) -> None:
        if self._last_ending:
            self.end(self._last_ending)
        elif self._check is not None:
            self._check.close()
            self._checked(None, "no answer in time")
        elif self._leg is not None:
            reason = self._leg.describe_silence()
            self._leave_backend()
            self.backend_broke(reason)
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
        phase = self.machine.phase
        if phase is not self._shown or (self._relay is not None and self._relay.active > self._shown_at):
            self._show(phase)

    def _show(self, phase: Phase) -> None:
        self._shown = phase
        self._shown_at = time.monotonic()
        machine, relay = self.machine, self._relay
        received, sent, deletes = self.from_client, self.to_client, 0
        if relay is not None:
            received += relay.from_client
            sent += relay.to_client
            deletes = relay.watch.deletes
        self._shop.write_row(
            self._token,
            phase,
            self.started_wall,
            time.time(),
            *self._identity,
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
        relay = self._relay
        if relay is not None:
            relay.close()
            self.from_client += relay.from_client
            self.to_client += relay.to_client
        self._relay = None
        self._leave_backend()
        if ending == "quit":
            self.client.close()
        else:
            self.client.close_kindly()
        tell(self._shop, self, ending)
        self._shop.release(self._token, ending)
        self._service.session_over()


_DEEDS: dict[type, Callable[[Session, Any], None]] = {
    actions.Ask: Session._ask,
    actions.CheckMail: Session._check_mail,
    actions.Connect: Session._connect,
    actions.SendBackend: Session._send_backend,
    actions.LeaveBackend: Session._leave_backend,
    actions.StartTls: Session._start_tls,
    actions.LoggedIn: Session._logged_in,
    actions.Relay: Session._start_relay,
    actions.Note: Session._note,
    actions.Count: Session._count,
    actions.End: Session._end,
}
