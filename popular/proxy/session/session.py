"""The driver of one proxy session: does what the machine says, and tells it what came of it. It decides nothing.

It has a machine, deadlines, a client connection, and once they are needed the reader of a PROXY header, a login and a
relay. It holds the row of the table and the token. Each event from the loop is one entry into the machine, with
`_settle` behind it. Whatever goes wrong in here costs this one session and is logged as a fault of ours; the worker
goes on: who calls in here from the event loop catches what is raised and says `fault`.
"""

import socket
import time
from typing import Any

from popular.net.client import ClientConnection
from popular.net.deadlines import Deadlines
from popular.net.handshake import Agreed, Failure
from popular.pdm.chain import CannotTell, Decision
from popular.pdm.contract import Question
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Endpoint, Header
from popular.proxy.backend import OFF, Backend
from popular.proxy.session.client_side import MOST_HELD
from popular.proxy.session.header_reader import HeaderReader, introduction, local_end
from popular.proxy.session.login import Login
from popular.proxy.session.machine import LINGERING, Machine
from popular.proxy.session.phases import CONNECTING, SIMULATING
from popular.proxy.session.relay import LINGER_SECONDS, Relay
from popular.proxy.session.runtime import VservRuntime
from popular.proxy.session.session_log import NOTHING_MOVED, Moved, log_end, log_handshake
from supervisor.fault import kind_and_place_of
from supervisor.messages import SESSION_BUG, Message
from supervisor.workshop import Standing

_NOTHING, _DECIDED, _UNCHECKED, _BROKEN, _NO_TLS, _JOINED = range(6)
"""What a verb has found out at once, or leaves to be done when the entry has returned."""


class Session:
    """One client connection from accept to close. It implements verbs.Verbs, events.SessionEvents and the owners of
    client and deadlines.
    """

    __slots__ = (
        "_began",
        "_client",
        "_counted",
        "_deadlines",
        "_ending",
        "_kept",
        "_kept_value",
        "_login",
        "_reached",
        "_reader",
        "_relay",
        "_runtime",
        "_shown",
        "_shown_at",
        "_token",
        "machine",
        "over",
        "peer",
        "sid",
        "started",
        "started_wall",
        "tls",
        "via",
    )

    def __init__(self, runtime: VservRuntime, token: int, connection: socket.SocketType, peer: tuple[Any, ...]) -> None:
        shop = runtime.shop
        self.started = self._began = now = shop.clock.now
        self.started_wall = wall = time.time()
        self.sid = sid = shop.session_id(runtime.sidprefix, wall)
        self._runtime = runtime
        self._token = token
        self.peer = peer
        """Who the client is: by the PROXY header, if there is one."""
        self.via = ""
        """Who brought the PROXY header."""
        self.machine = Machine(self, runtime.rules, peer[0], peer[1], sid)
        self._deadlines = Deadlines(shop.wheel, self, now, runtime.authtimeout)
        self._client = ClientConnection(shop.loop, shop.log, connection, self)
        self._reader: HeaderReader | None = None
        self._login: Login | None = None
        self._relay: Relay | None = None
        self._reached: Endpoint | None = None
        """Where whoever brought the client's PROXY header accepted it, if he says so."""
        self._counted = NOTHING_MOVED
        self._kept = _NOTHING
        self._kept_value: Any = None
        self._ending = ""
        """Why the session ends, as soon as the last reply has left."""
        self.tls: Agreed | None = None
        self.over = False

    def begin(self) -> None:
        """Takes the token and greets."""
        runtime = self._runtime
        runtime.shop.admit(self._token, self, runtime.started)
        try:
            self._show(self.started_wall)
            self._deadlines.look_at(self.started + runtime.first_look)
            self.machine.begin()
            self._settle()
        except Exception as error:
            self.fault(error)

    def fault(self, error: Exception) -> None:
        """An error of ours: it ends this session and nothing else."""
        self._runtime.shop.log(SESSION_BUG, self.sid, error=kind_and_place_of(error))
        self.end("internal_error")

    def _settle(self) -> None:
        """What follows each entry: replies leave, what a verb found out at once is told, and a session that is to end
        does so when the last reply has left.
        """
        client = self._client
        while True:
            if client.unsent and not client.flush():
                self.end("client_reset")
                return
            if not self._kept:
                break
            self._tell_kept()
            if self.over:
                return
        if self._ending:
            if not client.unsent:
                self.end(self._ending)
            else:
                self._only_send()
        elif not client.listens:
            client.listen(self.machine.listens())

    def _keep(self, what: int, value: Any) -> None:
        assert not self._kept, "one entry begins one step at most"
        self._kept = what
        self._kept_value = value

    def _tell_kept(self) -> None:
        what, value = self._kept, self._kept_value
        self._kept = _NOTHING
        self._kept_value = None
        machine = self.machine
        if what == _DECIDED:
            self._tell_decision(value)
        elif what == _JOINED:
            self._begin_relay(*value)
        elif what == _BROKEN:
            self._deadlines.expect_nothing()
            machine.backend_failed(*value)
        elif what == _UNCHECKED:
            self._tell_check(None, value)
        else:
            machine.tls_failed("other", value)

    # Verbs: the client

    def send(self, data: bytes) -> None:
        """See Verbs."""
        self._client.put(data)

    def start_tls(self, seconds: float) -> None:
        """See Verbs."""
        self._deadlines.expect_within(seconds)
        self._began = self._runtime.shop.clock.now
        client, terms = self._client, self._runtime.tls
        assert terms is not None, "a virtual server with TLS has a certificate"
        if client.flush() and not client.waits:
            client.start_tls(terms, self)
        else:
            client.hand_over()
            self._keep(_NO_TLS, "the client did not take the reply to STLS")

    def await_header(self, seconds: float) -> None:
        """See Verbs."""
        self._deadlines.expect_within(seconds)
        self._reader = HeaderReader(self._runtime.shop.loop, self._client.channel.connection, self)

    # Verbs: the login

    def ask(self, question: Question, seconds: float) -> None:
        """See Verbs."""
        login = self._login
        if login is None:
            login = self._login = Login(self._runtime)
        decision = login.ask(question, self._decided)
        if decision is not None:
            self._keep(_DECIDED, decision)
        else:
            self._deadlines.expect_within(seconds)

    def check_mail(self, backend: Backend, mailbox: str, seconds: float) -> None:
        """See Verbs."""
        assert self._login is not None
        self._deadlines.expect_within(seconds)
        self._began = self._runtime.shop.clock.now
        reason = self._login.check_mail(backend, mailbox, self)
        if reason:
            self._keep(_UNCHECKED, reason)

    def connect(self, backend: Backend, greets: bool, seconds: float) -> None:
        """See Verbs."""
        assert self._login is not None
        self._deadlines.expect_within(seconds)
        self._began = self._runtime.shop.clock.now
        header = b""
        if backend.sendproxy != OFF:
            local = self._reached or local_end(self._client.channel.connection)
            header = introduction(backend.sendproxy, self.peer, local)
        reason = self._login.connect(backend, greets, header, self)
        if reason:
            self._keep(_BROKEN, (reason, ""))

    def expect(self, seconds: float) -> None:
        """See Verbs."""
        self._deadlines.expect_within(seconds)

    def send_backend(self, data: bytes) -> None:
        """See Verbs."""
        assert self._login is not None
        assert self._login.backend is not None
        reason = self._login.backend.send(data)
        if reason:
            self._login.backend = None
            self._keep(_BROKEN, (reason, ""))

    def start_backend_tls(self) -> None:
        """See Verbs."""
        assert self._login is not None
        assert self._login.backend is not None
        reason = self._login.backend.start_tls()
        if reason:
            self._login.backend = None
            self._keep(_BROKEN, (reason, "tls"))

    def leave_backend(self) -> None:
        """See Verbs."""
        self._deadlines.expect_nothing()
        if self._login is not None:
            self._login.leave_backend()

    def logged_in(self) -> None:
        """See Verbs."""
        runtime = self._runtime
        self._deadlines.login_done(runtime.sessiontimeout)
        runtime.logins(runtime.shop.clock.now - self.started)
        self._show(time.time())

    def relay(self, to_client: bytes, to_backend: bytes) -> None:
        """See Verbs."""
        self._keep(_JOINED, (to_client, to_backend))

    # Verbs: the log, the counters, the end

    def note(self, message: Message, fields: dict[str, object]) -> None:
        """See Verbs."""
        self._runtime.shop.log(message, self.sid, **fields)

    def count(self, counter: str, label: str | None, ident: str) -> None:
        """See Verbs."""
        self._runtime.ledger.count(counter, label, ident)

    def finish(self, ending: str, seconds: float) -> None:
        """See Verbs."""
        self._ending = ending
        if self._client.unsent:
            self._deadlines.expect_within(seconds)

    def _only_send(self) -> None:
        """The last reply has not left: nothing else is waited for any more."""
        self._client.listen(False)
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._login is not None:
            self._login.close()

    # What the client's connection tells

    def client_says(self, data: bytes) -> None:
        """See client.Owner."""
        machine = self.machine
        machine.client_says(data)
        self._settle()
        if len(machine.lines.held) > MOST_HELD and not self.over:
            self._client.listen(False)

    def client_ended(self) -> None:
        """See client.Owner."""
        self.machine.client_eof()
        self._settle()

    def client_took_all(self) -> None:
        """See client.Owner."""
        if self._ending:
            self.end(self._ending)

    def client_broke(self) -> None:
        """See client.Owner."""
        self.end("client_reset")

    def tls_up(self, agreed: Agreed) -> None:
        """See client.TlsAsker."""
        shop = self._runtime.shop
        self._deadlines.expect_nothing()
        self.tls = agreed
        self._runtime.ledger.observe("tls_handshake_duration", shop.clock.now - self._began)
        log_handshake(shop, self.sid, agreed)
        self.machine.tls_up(agreed.certificate_name)
        self._settle()

    def tls_failed(self, failure: Failure) -> None:
        """See client.TlsAsker."""
        self.machine.tls_failed(failure.why, failure.reason)
        self._settle()

    # What the other parts tell

    def introduced(self, header: Header) -> None:
        """See SessionEvents."""
        self._reader = None
        self._deadlines.expect_nothing()
        self._reached = header.destination
        self.via = self.peer[0]
        if header.source is not None:
            self.peer = header.source
        self.machine.introduced(self.peer)
        self._settle()
        if not self.over:
            self._show(time.time())

    def header_failed(self, reason: str) -> None:
        """See SessionEvents."""
        self._reader = None
        self.machine.header_failed(reason)
        self._settle()

    def _decided(self, decision: Decision) -> None:
        """A thread has asked the modules."""
        if self.over:
            return
        try:
            self._tell_decision(decision)
            self._settle()
        except Exception as error:
            self.fault(error)

    def _tell_decision(self, decision: Decision) -> None:
        log = self._runtime.shop.log
        if log.options:
            reason = decision.reason if isinstance(decision, CannotTell) else ""
            log.debug("AUTH", "decision", self.sid, decision=type(decision).__name__, reason=reason)
        self._deadlines.expect_nothing()
        self.machine.decided(decision)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        """See SessionEvents."""
        assert self._login is not None
        self._login.answered()
        self._tell_check(mail, reason)
        self._settle()

    def _tell_check(self, mail: Mail | None, reason: str) -> None:
        self._deadlines.expect_nothing()
        self._time_check()
        self.machine.checked(mail, reason)

    def _time_check(self) -> None:
        self._runtime.ledger.observe("mail_check_duration", self._runtime.shop.clock.now - self._began)

    def backend_connected(self) -> None:
        """See SessionEvents."""
        self._connection_stands()
        self.machine.connected()
        self._settle()

    def backend_says(self, data: bytes) -> None:
        """See SessionEvents."""
        machine = self.machine
        if machine.phase is CONNECTING:
            self._connection_stands()
        machine.backend_says(data)
        self._settle()

    def _connection_stands(self) -> None:
        """The backend is there; from here on the login is timed."""
        runtime = self._runtime
        now = runtime.shop.clock.now
        runtime.backend_connects[self.machine.backend](now - self._began)
        self._began = now

    def backend_tls_up(self) -> None:
        """See SessionEvents."""
        self.machine.backend_tls_up()
        self._settle()

    def backend_broke(self, reason: str, word: str = "") -> None:
        """See SessionEvents."""
        assert self._login is not None
        self._login.backend = None
        self._deadlines.expect_nothing()
        self.machine.backend_failed(reason, word)
        self._settle()

    def _begin_relay(self, to_client: bytes, to_backend: bytes) -> None:
        client, login, runtime = self._client, self._login, self._runtime
        assert login is not None
        assert login.backend is not None
        clock = runtime.shop.clock
        runtime.backend_logins[self.machine.backend](clock.now - self._began)
        self._relay = Relay(client.channel, login.backend.channel, runtime.pipes, clock, self, client.done)
        self._relay.begin(client.hand_over() + to_client, to_backend)

    def relay_ended(self, ending: str) -> None:
        """See SessionEvents."""
        self.machine.relay_ended(ending)
        self._settle()

    # Time

    def idle_at(self) -> float:
        """See deadlines.Owner."""
        relay = self._relay
        if relay is not None:
            return relay.active + (LINGER_SECONDS if relay.lingers else self._runtime.proxytimeout)
        return self._client.heard + self._runtime.idletimeout

    def expired(self, what: str) -> None:
        """See deadlines.Owner."""
        try:
            if self._ending:
                self.end(self._ending)
            else:
                self._expire(what)
        except Exception as error:
            self.fault(error)

    def _expire(self, what: str) -> None:
        login, relay = self._login, self._relay
        missing = ""
        if relay is not None:
            missing = LINGERING if relay.lingers else ""
        elif login is not None:
            missing = login.missing()
            if what == "step" and login.give_up_question():
                self._time_check()
        self.machine.expired(what, missing)
        self._settle()

    # The table, and the end

    def standing(self) -> Standing:
        """See supervisor.workshop.Session."""
        relay = self._relay
        if relay is None:
            return Standing.IDLE if self.machine.phase is SIMULATING else Standing.NOT_LOGGED_IN
        if relay.watch.quit:
            return Standing.COMMITTING
        return Standing.IN_TRANSFER if relay.busy else Standing.IDLE

    def refresh(self) -> None:
        """See supervisor.workshop.Session."""
        relay = self._relay
        if relay is not None and relay.lingers:
            self._deadlines.set_alarm()
        if self.machine.phase is not self._shown or (relay is not None and relay.active > self._shown_at):
            self._show(time.time())
            self._count_moved(self._moved())

    def _moved(self) -> Moved:
        client, relay = self._client, self._relay
        if relay is None:
            return client.received, client.sent, 0, 0
        to_backend, from_backend = relay.from_client, relay.to_client
        return client.received + to_backend, client.sent + from_backend, from_backend, to_backend

    def _count_moved(self, moved: Moved) -> None:
        """Counts what was moved since it was counted last, so that a long session is seen before it is over."""
        numbers = self._runtime.shop.counters
        from_client, to_client, from_backend, to_backend = self._runtime.moved
        before, self._counted = self._counted, moved
        numbers[from_client] += moved[0] - before[0]
        numbers[to_client] += moved[1] - before[1]
        if self._relay is not None:
            numbers[from_backend] += moved[2] - before[2]
            numbers[to_backend] += moved[3] - before[3]

    def _show(self, since: float) -> None:
        machine, relay, shop = self.machine, self._relay, self._runtime.shop
        received, sent, _, _ = self._moved()
        self._shown = phase = machine.phase
        self._shown_at = shop.clock.now
        shop.write_row(
            self._token,
            phase,
            shop.pid,
            self.started_wall,
            since,
            self.sid.encode(),
            self.peer[0].encode(),
            self.peer[1],
            self._runtime.rules.vserv.encode(),
            machine.user.encode(),
            machine.backend.encode(),
            machine.target.encode(),
            received,
            sent,
            0 if relay is None else relay.watch.deletes,
        )

    def end(self, ending: str) -> None:
        """Once, for one reason: closes everything, frees the row, gives the token back, writes the log line.

        The machine is let go of, as every part has let go of us: so a session that is over is free without the
        collector.
        """
        if self.over:
            return
        self.over = True
        self._deadlines.stop()
        moved = self._moved()
        self._count_moved(moved)
        if self._relay is not None:
            self._relay.close()
            self._relay = None
        self._stop_waiting()
        self._client.close(after_quit=ending == "quit")
        runtime = self._runtime
        seconds = runtime.shop.clock.now - self.started
        log_end(
            runtime.shop.log,
            self.sid,
            client=self.peer[0],
            vserv=runtime.rules.vserv,
            machine=self.machine,
            ending=ending,
            seconds=seconds,
            moved=moved,
            tls=self.tls,
            via=self.via,
        )
        del self.machine
        runtime.shop.release(self._token, ending, seconds)
        runtime.over()
