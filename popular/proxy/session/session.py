"""One proxy session: carries out the verbs of its machine and tells it what came of them. It decides nothing.

How it begins, waits, shows itself and ends is the class below it (session_life.py); here is what passes between it and
the client, the modules and the backend.
"""

import functools

from popular.net.handshake import Agreed, Failure, log_handshake
from popular.pdm.chain import Admitted, Decision
from popular.pdm.contract import Question
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Header
from popular.proxy.session.absorber import PollWatch
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import OURS, BackendFailure
from popular.proxy.session.header_reader import HeaderReader, local_end, proxy_header
from popular.proxy.session.limits.cluster import LEASE_PATIENCE_SECONDS
from popular.proxy.session.machine.client_side import MOST_HELD
from popular.proxy.session.machine.phases import CONNECTING
from popular.proxy.session.relay import Relay
from popular.proxy.session.session_life import SessionLife
from popular.proxy.session.session_log import log_introduced
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
        self._runtime.context.loop.call_soon(self._enter_if_open, self._machine.proceed)

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
        self._row.go_on()
        if self._agreed is not None:
            tls = self._agreed
            question = question._replace(tls_version=tls.version, tls_cipher=tls.cipher, certificate=tls.certificate)
        decision = self._login.ask(question)
        if decision is not None:
            self.decide(decision)
        else:
            self._deadlines.expect_within(seconds)

    def decided(self, decision: Decision) -> None:
        self._enter_if_open(self._tell_decision, decision)

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
        then = functools.partial(self._enter_if_open, self._step_done, "decided", decision)
        limits.take_lease(self.row_number, self.sid, who, own=decision.limits, then=then)
        return True

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
            self._defer(self._step_done, "checked", None, failure.reason)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        self._login.mail_checked()
        self._deadlines.expect_nothing()
        self._machine.checked(mail, reason)
        self._settle()

    # The backend

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        failure = self._login.take_place(backend)
        if failure is not None:
            self._defer(self._tell_broken, failure)
            return
        header = b""
        if backend.is_introduced:
            local = self._reached or local_end(self._client.channel.connection)
            header = proxy_header(backend.settings.sendproxy, self._machine.peer(), local)
        failure = self._login.connect(backend, greets, header)
        if failure is not None:
            self._defer(self._tell_broken, failure)

    def send_backend(self, data: bytes) -> None:
        failure = self._login.send(data)
        if failure is not None:
            self._defer(self._tell_broken, failure)

    def start_backend_tls(self) -> None:
        failure = self._login.start_tls()
        if failure is not None:
            self._defer(self._tell_broken, failure)

    def leave_backend(self) -> None:
        assert self._relay is None, "the relay has the backend then"
        self._deadlines.expect_nothing()
        self._login.leave_backend()

    def backend_reached(self, number: int) -> None:
        self._machine.reached(number)

    def backend_connected(self) -> None:
        self._login.connected()
        self._machine.connected()
        self._settle()

    def backend_says(self, data: bytes) -> None:
        machine = self._machine
        if machine.phase is CONNECTING:
            self._login.connected()
        self._login.show_heard(data)
        machine.backend_says(data)
        self._settle()

    def backend_tls_up(self) -> None:
        self._login.show_tls()
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
        backend, places = login.hand_over()
        # A variable of its own: the session may end in `begin`, and let go of the relay that is still at work. In the
        # compiled form nobody else would hold it then.
        core, pipes, taps = runtime.context.core, runtime.pipes, self._taps()
        self._relay = relay = Relay(self, core, pipes) if taps is None else TappedRelay(self, core, pipes, taps=taps)
        self._places, self._login = places, None  # type: ignore[assignment]
        relay.take_over(client.channel, backend, client.at_eof)
        relay.begin(client.hand_over() + to_client, to_backend)

    def _taps(self) -> Taps | None:
        """Who hears what passes through the relay; nearly always nobody."""
        poll = self._machine.poll
        return None if poll is None else Taps([PollWatch(self._runtime.absorber, poll)], len(self._client.unsent))

    def relay_ended(self, ending: str) -> None:
        self._machine.relay_ended(ending)
        self._settle()
