"""One proxy session: carries out the verbs of its machine and tells it what came of them. It decides nothing.

It has a machine, deadlines, a client connection, a login (modules, mail check, backend) and a row of the table; where
they are needed, the reader of a PROXY header and a relay. Each event from the loop is one entry into the machine, with
`_settle` behind it. Whatever goes wrong in here costs this one session and is logged as a fault of ours: who calls in
here from the event loop catches what is raised, and says `fault`.
"""

import functools
from collections.abc import Callable
from typing import Any

from popular.net.client import ClientConnection
from popular.net.deadlines import Deadlines
from popular.net.handshake import Agreed, Failure, log_handshake
from popular.pdm.chain import Admitted, Decision
from popular.pdm.contract import Question
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Endpoint, Header
from popular.proxy.session.absorber import PollWatch
from popular.proxy.session.backend.backend_queue import BackendQueue
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.header_reader import HeaderReader, local_end, proxy_header
from popular.proxy.session.known import Who
from popular.proxy.session.limits.cluster import LEASE_PATIENCE_SECONDS
from popular.proxy.session.login import Login
from popular.proxy.session.machine.client_side import MOST_HELD
from popular.proxy.session.machine.machine import LINGERING, Machine
from popular.proxy.session.machine.phases import CONNECTING, SILENT
from popular.proxy.session.machine.verbs import PuttingOff
from popular.proxy.session.orders import AskedLogin
from popular.proxy.session.relay import LINGER_SECONDS, Relay
from popular.proxy.session.row import SessionRow, cost_of, marks_of, moved_by
from popular.proxy.session.runtime import VservRuntime
from popular.proxy.session.session_log import log_begin, log_end, log_introduced, milliseconds
from popular.proxy.session.tapped_relay import TappedRelay, Taps
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG, Message
from supervisor.serving.session import CutCost, Whose
from supervisor.system import wall


class Session(PuttingOff):
    """One client connection from accept to close.

    It is the supervisor's `Session` and the machine's `Verbs`, with which it hears `SessionEvents` from its parts, and
    owns the client connection and the deadlines.
    """

    __slots__ = (
        "_accepted_at",
        "_agreed",
        "_client",
        "_deadlines",
        "_ending",
        "_login",
        "_machine",
        "_over",
        "_queue",
        "_reached",
        "_reader",
        "_relay",
        "_row",
        "_runtime",
        "_tls_began",
        "_via",
    )

    _client: ClientConnection

    def __init__(self, runtime: VservRuntime, token: int, peer: tuple[str, int]) -> None:
        self._set_up(runtime, token, peer)

    def _set_up(self, runtime: VservRuntime, token: int, peer: tuple[str, int]) -> None:
        """A method, and not `__init__`, because for a class behind it that is no call of C in the compiled form."""
        self._runtime = runtime  # and not the parameter from here on: its type is known
        self._accepted_at = self._runtime.context.clock.now
        self.sid = self._runtime.context.session_id(self._runtime.sidprefix, wall())
        self.row_number = token
        self._via = ""
        """Who brought the PROXY header."""
        self._reached: Endpoint | None = None
        """Where he accepted the client, if he says so."""
        self._machine = Machine(self, self._runtime.around, peer)
        self._deadlines = Deadlines(self._runtime.context.wheel, self, self._accepted_at + self._runtime.authtimeout)
        self._login = Login(runtime, self)  # until the relay begins: most sessions are idle, and need it no more
        self._queue: BackendQueue | None = None
        """The queue of the backend at which this session has a place, from then on."""
        self._row = SessionRow(runtime, token)
        self._reader: HeaderReader | None = None
        self._relay: Relay | None = None
        self._agreed: Agreed | None = None
        self._tls_began = 0.0
        self._put_nothing_off()
        self._ending = ""
        """Why the session ends, as soon as the last reply has left."""
        self._over = False

    def begin(self, fd: int) -> None:
        """Takes the token and the connection (`fd`), and greets."""
        runtime = self._runtime
        self._client = ClientConnection(runtime.context, fd, self)
        self._client.hear_of_reset()
        runtime.context.admit(self.row_number, self, runtime.started_cell)
        try:
            if runtime.context.log.options:
                log_begin(runtime, self.sid, self._machine.peer(), client=self._client)
            self._show()
            self._deadlines.look_at(self._accepted_at + runtime.first_look)
            self._machine.begin()
            self._settle()
        except Exception as error:
            self.fault(error)

    def _enter(self, entry: Callable[..., None], *facts: Any) -> None:
        """Tells the machine what none of the parts does; too late is fine."""
        if self._over or self._ending:
            return
        try:
            entry(*facts)
            self._settle()
        except Exception as error:
            self.fault(error)

    def _settle(self) -> None:
        """What follows each entry: what a verb has left is seen to, replies leave, and behind the last one it ends."""
        client = self._client
        while self._has_put_off:
            self._do_what_was_put_off()
            if self._over:
                return
        if client.unsent and not self._ending:
            client.flush_later()
        if self._ending:
            if not client.flush_last():
                self.end("client_reset")
            elif client.unsent:  # the last reply has not left: nothing else is waited for any more
                client.listen(False)
                self._stop_waiting()
            else:
                self.end(self._ending)
        elif not client.listens:
            client.listen(self._machine.listens())

    def fault(self, error: Exception) -> None:
        """An error of ours: it ends this session and nothing else."""
        self._runtime.context.log(SESSION_BUG, self.sid, error=kind_and_location_of(error))
        self.end("internal_error")

    # Verbs

    def is_blocked(self, address: str) -> bool:
        runtime = self._runtime
        return runtime.blocked.read(0) != 0 and runtime.limits.blocks(address)

    def send(self, data: bytes) -> None:
        self._client.put(data)

    def rest(self) -> None:
        self._client.listen(False)
        self._runtime.context.loop.call_soon(self._enter, self._machine.proceed)

    def start_tls(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        self._put_off(self._start_tls)

    def await_header(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        self._reader = HeaderReader(self._runtime.context.loop, self._client.channel.connection, self)

    def ask(self, question: Question, seconds: float) -> None:
        self._row.go_on()
        if (agreed := self._agreed) is not None:
            question = question._replace(
                tls_version=agreed.version, tls_cipher=agreed.cipher, certificate=agreed.certificate
            )
        decision = self._login.ask(question)
        if decision is not None:
            self.decide(decision)
        else:
            self._deadlines.expect_within(seconds)

    def check_mail(self, backend: BackendRuntime, mailbox: str, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        if (why := self._login.take_place(backend)) is not None:
            self._put_off(self._tell_broken, *why)
            return
        reason, word = self._login.check_mail(backend, mailbox)
        if word:
            self._put_off(self._tell_broken, reason, word)
        elif reason:
            self._put_off(self._tell_step, "checked", None, reason)

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        self._deadlines.expect_within(seconds)
        if (why := self._login.take_place(backend)) is not None:
            self._put_off(self._tell_broken, *why)
            return
        header = b""
        if backend.is_introduced:
            local = self._reached or local_end(self._client.channel.connection)
            header = proxy_header(backend.settings.sendproxy, self._machine.peer(), local)
        reason, word = self._login.connect(backend, greets, header)
        if reason:
            self._put_off(self._tell_broken, reason, word)

    def expect(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        self._deadlines.hold(seconds, at_least)

    def await_release(self, asking: AskedLogin, seconds: float) -> None:
        self._deadlines.hold(seconds)
        self._runtime.orders.keep(
            self.row_number, asking, go_on=functools.partial(self._enter, self._tell_step, "released")
        )

    def send_backend(self, data: bytes) -> None:
        if reason := self._login.send(data):
            self._put_off(self._tell_broken, reason, "")

    def start_backend_tls(self) -> None:
        if reason := self._login.start_tls():
            self._put_off(self._tell_broken, reason, "tls")

    def leave_backend(self) -> None:
        assert self._relay is None, "the relay has the backend then"
        self._deadlines.expect_nothing()
        self._login.leave_backend()

    def logged_in(self) -> None:
        runtime = self._runtime
        self._login.wait_no_more()
        self._deadlines.login_done(runtime.sessiontimeout)
        runtime.login_durations.observe(runtime.context.clock.now - self._accepted_at)
        if runtime.reporter is not None:
            runtime.reporter.logged_in(self._machine, self._machine.peer_ip, self._agreed)
        self._show()

    def note(self, message: Message, fields: dict[str, object]) -> None:
        self._runtime.context.log(message, self.sid, **fields)

    def count(self, counter: str, label: str | None, ident: str) -> None:
        self._runtime.counters.count_one(counter, label, ident)

    def finish(self, ending: str, seconds: float) -> None:
        self._ending = ending
        if self._client.unsent:
            self._deadlines.expect_within(seconds)

    # The client

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
        elif client.waits:
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

    # The login

    def decided(self, decision: Decision) -> None:
        self._enter(self._tell_decision, decision)

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
        then = functools.partial(self._enter, self._tell_step, "decided", decision)
        limits.take_lease(self.row_number, self.sid, who, own=decision.limits, then=then)
        return True

    def _tell_step(self, entry: str, *facts: Any) -> None:
        self._deadlines.expect_nothing()
        getattr(self._machine, entry)(*facts)  # by name: a method of a compiled class is no object of its own

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        self._login.mail_checked()
        self._deadlines.expect_nothing()
        self._machine.checked(mail, reason)
        self._settle()

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
        self._login.hears(data)
        machine.backend_says(data)
        self._settle()

    def backend_tls_up(self) -> None:
        self._login.tls_up()
        self._machine.backend_tls_up()
        self._settle()

    def backend_broke(self, reason: str, word: str = "") -> None:
        if self._relay is not None:
            self.relay_ended("backend_closed")  # what was still to be said could not be
            return
        self._login.lost(reason)
        self._tell_broken(reason, word)
        self._settle()

    def _tell_broken(self, reason: str, word: str) -> None:
        self._login.wait_no_more()
        self._deadlines.expect_nothing()
        self._machine.backend_failed(reason, word)

    def _join(self, to_client: bytes, to_backend: bytes) -> None:
        client, runtime, login = self._client, self._runtime, self._login
        backend, queue = login.let_in()
        # A variable of its own: the session may end in `begin`, and let go of the relay that is still at work. In the
        # compiled form nobody else would hold it then.
        core, pipes, taps = runtime.context.core, runtime.pipes, self._taps()
        self._relay = relay = Relay(self, core, pipes) if taps is None else TappedRelay(self, core, pipes, taps=taps)
        self._queue, self._login = queue, None  # type: ignore[assignment]
        relay.join(client.channel, backend, client.done)
        relay.begin(client.hand_over() + to_client, to_backend)

    def _taps(self) -> Taps | None:
        """Who hears what passes through the relay; nearly always nobody."""
        poll = self._machine.poll
        return None if poll is None else Taps([PollWatch(self._runtime.absorber, poll)], len(self._client.unsent))

    def relay_ended(self, ending: str) -> None:
        self._machine.relay_ended(ending)
        self._settle()

    # Time

    def idle_at(self) -> float:
        relay = self._relay
        if relay is not None:
            return relay.active + (LINGER_SECONDS if relay.lingers else self._runtime.proxytimeout)
        return self._client.heard + self._runtime.idletimeout

    def expired(self, what: str) -> None:
        if self._ending:
            self.end(self._ending)
        else:
            self._enter(self._expire, what)

    def _expire(self, what: str) -> None:
        relay = self._relay
        if relay is not None:
            self._machine.expired(what, LINGERING if relay.lingers else "")
            return
        missing = self._login.missing()
        if what == "step":
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
                self._deadlines.set_alarm()
            relay.keep_alive()
        self._row.refresh(self._machine, self.sid, self._client, relay=relay)

    def _show(self) -> None:
        self._row.show(self._machine, self.sid, moved_by(self._client, self._relay))

    # The end

    def _stop_waiting(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        relay = self._relay
        if relay is None:
            self._login.close()
            return
        if self._runtime.context.log.options:
            self._runtime.context.log.debug("NET", "backend_left", self.sid)
        relay.close()
        if self._queue is not None:
            self._queue.places.give_back()
            self._queue = None

    def end(self, ending: str) -> None:
        """Once, for one reason. All parts are let go of, as they let go of us: so it is free without the collector."""
        if self._over:
            return
        self._over = True
        self._deadlines.stop()
        moved = moved_by(self._client, self._relay)
        self._row.add_traffic(moved)
        self._stop_waiting()
        self._relay = None
        self._client.close(after_quit=ending == "quit" or ending == "absorbed")
        runtime, context = self._runtime, self._runtime.context
        seconds = context.clock.now - self._accepted_at
        machine, agreed = self._machine, self._agreed
        facts = (
            machine.peer_ip,
            runtime.rules.vserv,
            machine.namespace,
            machine.user,
            machine.backend_id,
            machine.target,
            ending,
            milliseconds(seconds),
            moved[0],
            moved[1],
            agreed.version if agreed is not None else "",
            agreed.cipher if agreed is not None else "",
            self._via,
        )
        log_end(context.log, self.sid, facts)
        if runtime.orders.any:
            runtime.orders.forget(self.row_number)
        if runtime.limited or machine.counted:
            runtime.limits.leave(self.row_number)
        machine.over()
        self._machine = self._login = None  # type: ignore[assignment]
        context.release(self.row_number, ending, seconds)
        runtime.holders.go()
