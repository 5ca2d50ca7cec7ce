"""One proxy session: carries out the verbs of its machine and tells it what came of them. It decides nothing of POP3.

How it begins, waits, shows itself and ends is the class below it (session_life.py); here is what passes between it and
the client, the modules and the backend. What a login has open meanwhile is kept, and given up, in login_parts.py.
"""

import functools

from popular.net.handshake import Agreed, Failure, log_handshake
from popular.pdm.contract import PASSWORD, Question
from popular.pdm.decision import Admitted, Decision
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Header
from popular.proxy.session.backend.backend_connection import BackendConnection, Extras
from popular.proxy.session.backend.backend_race import RacingConnection
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import OURS, BackendFailure, failure_of
from popular.proxy.session.header_reader import HeaderReader, local_end, proxy_header
from popular.proxy.session.limits.cluster import LEASE_PATIENCE_SECONDS
from popular.proxy.session.machine.machine_state import MOST_HELD
from popular.proxy.session.machine.phases import CONNECTING
from popular.proxy.session.relay import Relay
from popular.proxy.session.session_life import SessionLife
from popular.proxy.session.session_log import (
    log_attempt,
    log_backend_tls,
    log_connected,
    log_connecting,
    log_heard,
    log_introduced,
    log_said,
)
from popular.proxy.session.shared.absorber import PollWatch
from popular.proxy.session.shared.module_chain import LoopQuestion
from popular.proxy.session.shared.question_queue import PendingQuestion
from popular.proxy.session.tapped_relay import TappedRelay, Taps
from popular.proxy.session.who import Who


class Session(SessionLife):
    """One client connection: the machine's `Verbs`, which hears `SessionEvents` from its parts."""

    __slots__ = ()

    # The client

    def send(self, data: bytes) -> None:
        self._client.put(data)

    def rest(self) -> None:
        self._client.listen(False)
        self._runtime.context.loop.call_soon(self._tell_if_open, self._machine.proceed)

    def start_tls(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        self._defer(self._start_tls)

    def await_header(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        self._reader = HeaderReader(self._runtime.context.loop, self._client.channel.connection, self)

    def client_says(self, data: bytes) -> None:
        machine = self._machine
        machine.client_says(data)
        self._settle()
        if len(machine.lines.held) > MOST_HELD and not self._over and not machine.listens():
            self._client.listen(False)

    def client_ended(self) -> None:
        self._machine.client_eof()
        self._settle()

    def client_took_all(self) -> None:
        if self._ending:
            self.end(self._ending)

    def client_broke(self) -> None:
        self.end("client_reset")

    def _start_tls(self) -> None:
        client, tls_settings = self._client, self._runtime.tls_settings
        assert tls_settings is not None, "a virtual server with TLS has a certificate"
        self._tls_began = self._runtime.context.clock.now
        if not client.flush():
            self.end("client_reset")
        elif client.write_blocked:
            client.hand_over()
            self.tls_failed(Failure("other", "the client did not take the reply to STLS"))
        else:
            client.start_tls(self._runtime.context.clock, tls_settings, self)

    def tls_up(self, agreed: Agreed) -> None:
        context = self._runtime.context
        self._deadlines.expect_nothing()
        self._row.go_on()
        self._agreed = agreed
        log_handshake(context, self.sid, agreed, seconds=context.clock.now - self._tls_began)
        self._machine.tls_up(agreed.certificate_name)
        self._settle()

    def tls_failed(self, failure: Failure) -> None:
        self._machine.tls_failed(failure.why, failure.reason)
        self._settle()

    def introduced(self, header: Header) -> None:
        self._reader = None
        self._deadlines.expect_nothing()
        self._reached = header.destination
        self._via = self._machine.peer_ip
        peer = self._machine.peer() if header.source is None else header.source
        log_introduced(self._runtime, self.sid, peer, via=self._via)
        self._machine.introduced(peer)
        self._settle()
        if not self._over:
            self._show()

    def header_failed(self, reason: str) -> None:
        self._reader = None
        self._machine.header_failed(reason)
        self._settle()

    # The modules

    def ask(self, question: Question, seconds: float) -> None:
        runtime, modules = self._runtime, self._runtime.modules
        self._row.go_on()
        if self._agreed is not None:
            tls = self._agreed
            question = question._replace(tls_version=tls.version, tls_cipher=tls.cipher, certificate=tls.certificate)
        if runtime.context.log.options:
            log_attempt(runtime, self.sid, question)
        # To the fallback backend only a password leads.
        hide_unknown = not runtime.rules.fallback or question.kind != PASSWORD
        if not modules.answers_later:
            self.conclude(modules.ask(question, hide_unknown, self.sid))
            return
        asked = modules.ask_later(question, hide_unknown, self.sid, decided=self.decided)
        if isinstance(asked, (PendingQuestion, LoopQuestion)):
            self._login.question = asked
            self._deadlines.expect_within(seconds)
        else:
            self.conclude(asked)

    def decided(self, decision: Decision) -> None:
        self._tell_if_open(self._tell_decision, decision)

    def _tell_decision(self, decision: Decision) -> None:
        self._deadlines.expect_nothing()
        if not (self._runtime.limited and self._take_lease(decision)):
            self._machine.decided(decision)

    def _take_lease(self, decision: Decision) -> bool:
        """Whether the cluster is asked before it goes on."""
        limits, machine = self._runtime.limits, self._machine
        if not isinstance(decision, Admitted) or not limits.needs_lease(decision.limits):
            return False
        self._deadlines.expect_within(LEASE_PATIENCE_SECONDS)
        who = Who(machine.peer_ip, machine.namespace, machine.user)
        then = functools.partial(self._tell_if_open, self._lease_answered, decision)
        limits.take_lease(self.row_number, self.sid, who, own=decision.limits, then=then)
        return True

    def _lease_answered(self, decision: Decision) -> None:
        self._deadlines.expect_nothing()
        self._machine.decided(decision)

    # The mail check

    def check_mail(self, backend: BackendRuntime, mailbox: str, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        failure = self._login.take_place(backend)
        if failure is not None:
            self._defer(self._tell_broken, failure)
            return
        failure = self._login.check_mail(backend, mailbox)
        if failure is None:
            return
        if failure.word == OURS:
            self._defer(self._tell_broken, failure)
        else:
            self._defer(self._mail_not_checked, failure.reason)

    def _mail_not_checked(self, reason: str) -> None:
        self._deadlines.expect_nothing()
        self._machine.checked(None, reason)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        self._login.mail_checked()
        self._deadlines.expect_nothing()
        self._machine.checked(mail, reason)
        self._settle()

    # The backend

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        failure = self._login.take_place(backend) or self._open(backend, greets)
        if failure is not None:
            self._defer(self._tell_broken, failure)

    def _open(self, backend: BackendRuntime, greets: bool) -> BackendFailure | None:
        """Begins to connect, unless that fails."""
        runtime, login = self._runtime, self._login
        login.began = runtime.context.clock.now
        # No `get`: where TLS was asked for and is not there, nothing may be said in clear.
        tls = None if backend.in_clear else runtime.backend_tls[backend.id]
        header = self._introduction(backend) if backend.is_introduced else b""
        extras = Extras(backend.settings, tls, header) if header or tls is not None else None
        if runtime.context.log.options:
            log_connecting(runtime, self.sid, backend)
        if backend.reach is None:
            connection = BackendConnection(runtime.context, self)
        else:
            connection = RacingConnection(runtime.context, self, backend.reach)
        try:
            connection.open(backend.settings, greets, extras)
        except OSError as error:
            failure = failure_of(error)
            login.lost(failure.reason)
            return failure
        login.connection, login.backend = connection, backend
        return None

    def _introduction(self, backend: BackendRuntime) -> bytes:
        """The PROXY header, which is said first and in clear."""
        local = self._reached or local_end(self._client.channel.connection)
        return proxy_header(backend.settings.sendproxy, self._machine.peer(), local)

    def send_backend(self, data: bytes) -> None:
        connection = self._login.connection
        assert connection is not None
        if self._runtime.context.log.options:
            log_said(self._runtime, self.sid, data, is_open=not connection.greets)
        reason = connection.send(data)
        if reason:
            self._lose_backend(reason, "")

    def start_backend_tls(self) -> None:
        connection = self._login.connection
        assert connection is not None
        reason = connection.start_tls()
        if reason:
            self._lose_backend(reason, "tls")

    def _lose_backend(self, reason: str, word: str) -> None:
        self._login.lost(reason)
        self._defer(self._tell_broken, BackendFailure(reason, word))

    def leave_backend(self) -> None:
        assert self._relay is None, "the relay has the backend then"
        self._deadlines.expect_nothing()
        self._login.leave_backend()

    def backend_reached(self, number: int) -> None:
        self._machine.reached(number)

    def backend_connected(self) -> None:
        self._time_login()
        self._machine.connected()
        self._settle()

    def _time_login(self) -> None:
        """The connection stands; from here on the login is timed."""
        runtime, login = self._runtime, self._login
        now, backend = runtime.context.clock.now, login.backend
        assert backend is not None
        assert backend.connect_durations is not None
        backend.connect_durations.observe(now - login.began)
        if runtime.context.log.options:
            assert login.connection is not None
            log_connected(runtime, self.sid, backend.id, channel=login.connection.channel, seconds=now - login.began)
        login.began = now

    def backend_says(self, data: bytes) -> None:
        machine = self._machine
        if machine.phase is CONNECTING:
            self._time_login()
        if self._runtime.context.log.options:
            log_heard(self._runtime, self.sid, data)
        machine.backend_says(data)
        self._settle()

    def backend_tls_up(self) -> None:
        if self._runtime.context.log.options:
            assert self._login.connection is not None
            log_backend_tls(self._runtime, self.sid, self._login.connection.channel)
        self._machine.backend_tls_up()
        self._settle()

    def backend_broke(self, reason: str, word: str = "") -> None:
        if self._relay is not None:
            self.relay_ended("backend_closed")  # what was still to be said could not be
            return
        self._login.lost(reason)
        self._tell_broken(BackendFailure(reason, word))
        self._settle()

    def _tell_broken(self, failure: BackendFailure) -> None:
        """The connection is closed, or there never was one."""
        self._login.leave_waiting()
        self._login.release_place()
        self._deadlines.expect_nothing()
        self._machine.backend_failed(failure.reason, failure.word)

    # The relay

    def logged_in(self) -> None:
        runtime = self._runtime
        self._login.leave_waiting()
        if self._login.connection is None:  # an empty mailbox of ours
            self._login.release_place()
        self._deadlines.login_done(runtime.sessiontimeout)
        runtime.login_durations.observe(runtime.context.clock.now - self._accepted_at)
        if runtime.reporter is not None:
            runtime.reporter.logged_in(self._machine, self._machine.peer_ip, self._agreed)
        self._show()

    def _begin_relay(self, to_client: bytes, to_backend: bytes) -> None:
        client, runtime, login = self._client, self._runtime, self._login
        backend, connection, admission = login.backend, login.connection, login.admission
        assert backend is not None
        assert backend.login_durations is not None
        assert connection is not None
        assert admission is not None
        backend.login_durations.observe(runtime.context.clock.now - login.began)
        if backend.announced is not None:
            backend.announced.note_login()
        # A variable of its own: the session may end in `begin`, and let go of the relay that is still at work. In the
        # compiled form nobody else would hold it then.
        core, pipes, taps = runtime.context.core, runtime.pipes, self._taps()
        self._relay = relay = Relay(self, core, pipes) if taps is None else TappedRelay(self, core, pipes, taps=taps)
        self._places, self._login = admission.places, None  # type: ignore[assignment]
        relay.take_over(client.channel, connection.channel, client.at_eof)
        relay.begin(client.hand_over() + to_client, to_backend)

    def _taps(self) -> Taps | None:
        """Who hears what passes through the relay; nearly always nobody."""
        poll = self._machine.poll
        return None if poll is None else Taps([PollWatch(self._runtime.absorber, poll)], len(self._client.unsent))

    def relay_ended(self, ending: str) -> None:
        self._machine.relay_ended(ending)
        self._settle()
