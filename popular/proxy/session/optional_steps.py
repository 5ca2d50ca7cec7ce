"""The session that is made: a plain one (session.py), and what a plain login passes by: PROXY header, TLS, mail check,
lease, holds, a backend that fails, deadlines that pass; and what the supervisor asks.
"""

import functools

from popular.net.handshake import Agreed, Failure, log_handshake
from popular.pdm.decision import Admitted, Decision
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Endpoint, Header
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import OURS, BackendFailure
from popular.proxy.session.bulk_relay import LINGER_SECONDS
from popular.proxy.session.header_reader import HeaderReader, local_end, proxy_header
from popular.proxy.session.limits.cluster import LEASE_PATIENCE_SECONDS
from popular.proxy.session.limits.login_orders import AskedLogin
from popular.proxy.session.machine.machine import COMMITTING, LINGERING, QUIT_ANSWERED
from popular.proxy.session.machine.phases import SILENT
from popular.proxy.session.relay import Relay
from popular.proxy.session.row import cost_of, marks_of
from popular.proxy.session.session import PlainSession
from popular.proxy.session.session_log import log_backend_tls, log_introduced
from popular.proxy.session.shared.absorber import PollWatch
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.tapped_relay import Taps
from popular.proxy.session.who import Who
from supervisor.serving.session import CutCost, Whose


class Session(PlainSession):
    """One client connection from accept to close, with all that may happen to it. It is the supervisor's `Session`."""

    __slots__ = ("_reached", "_reader", "_tls_began")

    def _set_up(self, runtime: VservRuntime, row_number: int, peer: tuple[str, int]) -> None:
        PlainSession._set_up(self, runtime, row_number, peer)
        self._reader: HeaderReader | None = None
        self._reached: Endpoint | None = None
        """Where whoever brought the PROXY header (`_via`) accepted the client, if he says so."""
        self._tls_began = 0.0

    def _stop_waiting(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        PlainSession._stop_waiting(self)

    # The PROXY header

    def await_header(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        self._reader = HeaderReader(self._runtime.context.loop, self._client.channel.connection, self)

    def introduced(self, header: Header) -> None:
        self._reader = None
        self._deadlines.expect_nothing()
        self._reached, self._via = header.destination, self._machine.peer_ip
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

    def _introduction(self, backend: BackendRuntime) -> bytes:
        at = self._reached or local_end(self._client.channel.connection)
        return proxy_header(backend.settings.sendproxy, self._machine.peer(), at)

    # TLS with the client

    def start_tls(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        self._defer(self._start_tls)

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

    # A client that has to wait

    def yield_turn(self) -> None:
        self._client.set_reading(False)
        self._runtime.context.loop.call_soon(self._tell_if_open, self._machine.proceed)

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        self._deadlines.hold(seconds, at_least)

    def await_release(self, asking: AskedLogin, seconds: float) -> None:
        self._deadlines.hold(seconds)
        go_on = functools.partial(self._tell_if_open, self._released)
        self._runtime.orders.keep(self.row_number, asking, go_on=go_on)

    def _released(self) -> None:
        if self._machine.awaits_release():  # else the deadline is that of another step
            self._deadlines.expect_nothing()
            self._machine.released()

    def _take_lease(self, decision: Decision) -> bool:
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
        if failure is not None and failure.word == OURS:
            self._defer(self._tell_broken, failure)
        elif failure is not None:
            self._defer(self._mail_not_checked, failure.reason)

    def _mail_not_checked(self, reason: str) -> None:
        self._deadlines.expect_nothing()
        self._machine.checked(None, reason)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        self._login.mail_checked()
        self._deadlines.expect_nothing()
        self._machine.checked(mail, reason)
        self._settle()

    # A backend in TLS, of several addresses, or that fails

    def backend_reached(self, number: int) -> None:
        self._machine.reached(number)

    def start_backend_tls(self) -> None:
        connection = self._login.connection
        assert connection is not None
        reason = connection.start_tls()
        if reason:
            self._login.lost(reason)
            self._defer(self._tell_broken, BackendFailure(reason, "tls"))

    def backend_tls_up(self) -> None:
        if self._runtime.context.log.options:
            assert self._login.connection is not None
            log_backend_tls(self._runtime, self.sid, self._login.connection.channel)
        self._machine.backend_tls_up()
        self._settle()

    def leave_backend(self) -> None:
        assert self._relay is None, "the relay has the backend then"
        self._deadlines.expect_nothing()
        self._login.leave_backend()

    def backend_broke(self, reason: str, word: str = "") -> None:
        if self._relay is not None:
            self.relay_ended("backend_closed")  # what was still to be said could not be
            return
        self._login.lost(reason)
        self._tell_broken(BackendFailure(reason, word))
        self._settle()

    def _tell_broken(self, failure: BackendFailure) -> None:
        self._login.leave_waiting()
        self._login.release_place()
        self._deadlines.expect_nothing()
        self._machine.backend_failed(failure.reason, failure.word)

    # Who else hears

    def _taps(self) -> Taps | None:
        poll = self._machine.poll
        return None if poll is None else Taps([PollWatch(self._runtime.absorber, poll)], len(self._client.unsent))

    # Deadlines that pass

    def idle_at(self) -> float:
        relay = self._relay
        if relay is not None:
            return relay.last_activity + (LINGER_SECONDS if relay.lingers else self._runtime.proxytimeout)
        return self._client.heard + self._runtime.idletimeout

    def expired(self, what: str) -> None:
        if self._ending:
            if what != "auth":  # which comes again and again; the last reply has its own seconds (`finish`)
                self.end(self._ending)
        else:
            self._tell_if_open(self._expire, what)

    def _expire(self, what: str) -> None:
        relay = self._relay
        if relay is not None:
            self._machine.expired(what, _standing(relay))
            return
        missing = self._login.missing(what)
        if what in ("step", "auth"):
            self._login.give_up_answers()
        self._machine.expired(what, missing)

    # The supervisor

    def whose(self) -> Whose:
        return Whose(self._accepted_at, self._machine.peer_ip, marks_of(self._machine, self._runtime.rules.vserv))

    def cut_cost(self) -> CutCost:
        return self._relay.cut_cost() if self._relay is not None else cost_of(self._machine.phase)

    def displaceable(self) -> tuple[str, float] | None:
        phase = self._machine.phase
        return (self._machine.peer_ip, self._row.waits_since(phase)) if phase in SILENT else None

    def refresh(self) -> None:
        relay = self._relay
        if relay is not None:
            if relay.lingers:
                self._deadlines.schedule()
            relay.keep_alive()
        self._row.refresh(self._machine, self.sid, self._client, relay=relay)


def _standing(relay: Relay) -> str:
    """How it stands when a deadline is over, see `Machine.expired`."""
    if relay.lingers:
        return QUIT_ANSWERED if relay.watch.quit else LINGERING
    return COMMITTING if relay.cut_cost() is CutCost.COMMITTING else ""
