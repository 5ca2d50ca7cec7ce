"""The half of the driver that brings a client to its mailbox: the modules, the mail check, the backend, the relay.

`session.py` is the other half: the client, the deadlines, the row, and the end. Here too nothing is decided; every
answer goes to the machine. How long a step took is told to the counters by the loop's clock, which is read once for
each waking.
"""

import time
from typing import TYPE_CHECKING, Any

from popular import messages
from popular.net.deadlines import DeadlinesBase
from popular.pdm import chain
from popular.pdm.chain import CannotTell, Decision
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Endpoint
from popular.proxy import actions
from popular.proxy.actions import Action
from popular.proxy.backend_leg import BackendLeg
from popular.proxy.client_leg import ClientLeg
from popular.proxy.header_reader import HeaderReader, introduction, local_end
from popular.proxy.machine import Machine
from popular.proxy.mailcheck import MailQuestion
from popular.proxy.phases import CONNECTING
from popular.proxy.relay import Relay
from popular.proxy.rules import Rules
from popular.proxy.settings.backend import OFF
from supervisor.serving.context import WorkerContext

if TYPE_CHECKING:
    from popular.proxy.service import Front, ProxyService

MODULE_SECONDS = 30.0
BACKEND_SECONDS = 20.0
"""For the connect, TLS and the login together; a backend that does not greet has them for the login once more."""


class LoginDriver(DeadlinesBase):
    """What a session does between PASS and the relay. Session sets the attributes."""

    __slots__ = (
        "_asked",
        "_backend",
        "_began",
        "_client",
        "_context",
        "_front",
        "_reached",
        "_relay",
        "_service",
        "machine",
        "over",
        "peer",
        "rules",
        "sid",
        "started",
    )

    _service: "ProxyService"
    _front: "Front"
    _context: WorkerContext
    _client: ClientLeg
    _backend: BackendLeg | None
    _relay: Relay | None
    _asked: HeaderReader | MailQuestion | None
    """Whose answer is waited for, to be closed if it does not come."""
    _began: float
    """When the step began whose time is taken: TLS, mail check, connect, or backend login."""
    _reached: Endpoint | None
    """Where whoever brought the client's PROXY header accepted it, if he says so."""
    machine: Machine
    rules: Rules
    peer: tuple[Any, ...]
    """Who the client is: by the PROXY header, if there is one."""
    sid: str
    started: float
    over: bool

    def _do(self, todo: list[Action]) -> None:
        raise NotImplementedError

    def _show(self, since: float) -> None:
        raise NotImplementedError

    def end(self, ending: str) -> None:
        """See supervisor.serving.context.Session."""
        raise NotImplementedError

    def fault(self, error: Exception) -> None:
        """An error of ours, in the session or in one of its connections. See client_leg.Owner, backend_leg.Owner."""
        raise NotImplementedError

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
        if self._context.log.options:
            reason = decision.reason if isinstance(decision, CannotTell) else ""
            self._context.log.debug("AUTH", "decision", self.sid, decision=type(decision).__name__, reason=reason)
        self.expect_nothing()
        try:
            self._do(self.machine.decided(decision))
        except Exception as error:
            self.fault(error)

    def _check_mail(self, action: actions.CheckMail) -> None:
        service, backend = self._service, action.backend
        self.expect_within(service.checktimeout)
        self._began = self._context.clock.now
        try:
            self._asked = MailQuestion(
                self._context.loop, backend.address, service.checkport, action.mailbox, self._checked
            )
        except OSError as error:
            self._checked(None, error.strerror or type(error).__name__)

    def _checked(self, mail: Mail | None, reason: str) -> None:
        self._asked = None
        self.expect_nothing()
        try:
            self._service.counters.observe("mail_check_duration", self._context.clock.now - self._began)
            if mail is None:
                self._context.log(messages.CHECK_FAILED, self.sid, backend=self.machine.backend, reason=reason)
            self._do(self.machine.checked(mail))
        except Exception as error:
            self.fault(error)

    # The backend

    def _connect(self, action: actions.Connect) -> None:
        self.expect_within(BACKEND_SECONDS)
        self._began = self._context.clock.now
        backend = action.backend
        first = b"" if backend.sendproxy == OFF else introduction(backend.sendproxy, self.peer, self._local())
        # No `get`: where TLS was asked for and is not there, nothing may be said in clear.
        tls = None if backend.tls == OFF else self._service.backend_tls[backend.id]
        try:
            self._backend = BackendLeg(self._context.loop, backend, action.greets, self, tls, first)
        except OSError as error:
            self.backend_broke(error.strerror or type(error).__name__)

    def _local(self) -> Endpoint | None:
        """Where the client was accepted: by us, or by whoever brought its PROXY header."""
        return self._reached or local_end(self._client.channel.connection)

    def backend_connected(self) -> None:
        """See backend_leg.Owner."""
        self.expect_within(BACKEND_SECONDS)
        self._connection_stands()
        self._do(self.machine.connected())

    def backend_says(self, data: bytes) -> None:
        """See backend_leg.Owner."""
        machine = self.machine
        if machine.phase is CONNECTING:
            self._connection_stands()
        self._do(machine.backend_says(data))

    def _connection_stands(self) -> None:
        """The backend is there; from here on the login is timed."""
        now = self._context.clock.now
        self._service.backend_connects[self.machine.backend](now - self._began)
        self._began = now

    def backend_broke(self, reason: str, word: str = "") -> None:
        """See backend_leg.Owner. `word` is for the counter, see Machine.backend_failed."""
        self._backend = None
        self.expect_nothing()
        self._do(self.machine.backend_failed(reason, word))

    def _send_backend(self, action: actions.SendBackend) -> None:
        assert self._backend is not None
        self._backend.send(action.data)

    def _start_backend_tls(self, _action: actions.StartBackendTls) -> None:
        assert self._backend is not None
        self._backend.start_tls()

    def backend_tls_up(self) -> None:
        """See backend_leg.Owner."""
        self._do(self.machine.backend_tls_up())

    def _leave_backend(self, _action: object = None) -> None:
        self.expect_nothing()
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    # Joined

    def _logged_in(self, _action: actions.LoggedIn) -> None:
        self.login_done(self._service.sessiontimeout)
        self._front.logins(self._context.clock.now - self.started)
        self._show(time.time())

    def _start_relay(self, action: actions.Relay) -> None:
        client, backend, service, clock = self._client, self._backend, self._service, self._context.clock
        assert backend is not None
        service.backend_logins[self.machine.backend](clock.now - self._began)
        self._relay = Relay(
            client.channel, backend.channel, service.pipes, clock, self._relay_over, self.fault, client.done
        )
        self._relay.begin(client.hand_over() + action.to_client, action.to_backend)

    def _relay_over(self, ending: str) -> None:
        if ending == "null_byte":
            self._do([self.machine.null_byte()])
        self.end(ending)
