"""One proxy session: carries out the verbs of its machine and tells it what came of them. It decides nothing of POP3.

It has the parts: a machine, deadlines, a client connection, what the login needs and a row of the table; where they
are needed, the reader of a PROXY header and a relay. Here is all that a plain login runs through, from the accept to
the end. What it passes by (TLS, mail check, holds, …), and what the supervisor asks, has the subclass that is made
(`Session`, optional_steps.py). What a login has open meanwhile is kept, and given up, in login_parts.py.

Each event from the loop is one entry into the machine, with `_settle` after it. No verb calls the machine (verbs.py):
what a verb cannot do at once is deferred, one thing at a time (`_claim_turn`), and done by `_settle`. Whatever goes
wrong in here costs this one session and is logged as a fault of ours: who calls in here from the event loop catches
what is raised, and says `fault`.

    finish      the verb by which the machine ends it: by `end`, as soon as the last reply has left
    _ending     the reason that `finish` gave: no more entries are made, and `_settle` only sends
    end         at once, whoever says it: `finish`, a client that broke, a fault, the operator
    _over       it has ended
"""

from collections.abc import Callable
from typing import Any

from popular.net.client import ClientConnection
from popular.net.deadlines import Deadlines
from popular.net.handshake import Agreed
from popular.pdm.contract import PASSWORD, Question
from popular.pdm.decision import Decision
from popular.proxy.session.backend.backend_admission import BackendPlaces
from popular.proxy.session.backend.backend_connection import BackendConnection, Extras
from popular.proxy.session.backend.backend_race import RacingConnection
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import BackendFailure, failure_of
from popular.proxy.session.login_parts import LoginParts
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.machine.machine_state import MOST_HELD
from popular.proxy.session.machine.phases import CONNECTING
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.session.relay import Relay
from popular.proxy.session.row import SessionRow, traffic_of
from popular.proxy.session.session_log import (
    log_attempt,
    log_begin,
    log_connected,
    log_connecting,
    log_end,
    log_heard,
    log_said,
)
from popular.proxy.session.shared.module_chain import LoopQuestion
from popular.proxy.session.shared.question_queue import PendingQuestion
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.tapped_relay import TappedRelay, Taps
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG, Message
from supervisor.serving.session import CutCost, Whose
from supervisor.system import wall


class PlainSession(Verbs):
    """One client connection from accept to close, as far as a plain login goes: the machine's `Verbs`, which hears
    `SessionEvents` from its parts. It owns the client connection and the deadlines.
    """

    __slots__ = (
        "_accepted_at",
        "_agreed",
        "_call",
        "_client",
        "_deadlines",
        "_decision",
        "_ending",
        "_has_deferred",
        "_login",
        "_machine",
        "_over",
        "_places",
        "_relay",
        "_row",
        "_runtime",
        "_to_relay",
        "_via",
    )

    def __init__(self, runtime: VservRuntime, row_number: int, peer: tuple[str, int]) -> None:
        self._set_up(runtime, row_number, peer)

    def _set_up(self, runtime: VservRuntime, row_number: int, peer: tuple[str, int]) -> None:
        """A method, and not `__init__`, because for a subclass that is no call of C in the compiled form."""
        self._runtime = runtime  # and not the parameter from here on: its type is known
        self._accepted_at = self._runtime.context.clock.now
        self.sid = self._runtime.context.session_id(self._runtime.sidprefix, wall())
        self.row_number = row_number
        self._machine = Machine(self, self._runtime.around, peer)
        self._deadlines = Deadlines(self._runtime.context.wheel, self, self._accepted_at + self._runtime.authtimeout)
        self._login = LoginParts(runtime, self)  # until the relay begins: most sessions are idle, and need it no more
        self._row = SessionRow(runtime, row_number)
        self._relay: Relay | None = None
        self._places: BackendPlaces | None = None
        """Its place at the backend while the relay runs; before that `_login.admission` has it."""
        self._has_deferred = False
        """One of the next three is there, for `_settle`; the first two go without a call in Python."""
        self._decision: Decision | None = None
        """What the modules have said at once: to be told."""
        self._to_relay: tuple[bytes, bytes] | None = None
        """The relay is to begin, after what each side is still to be sent."""
        self._call: tuple[Callable[..., None], tuple[Any, ...]] | None = None
        self._ending = ""
        """Why the session ends, as soon as the last reply has left."""
        self._over = False
        self._agreed: Agreed | None = None
        """What the TLS handshake with the client came to."""
        self._via = ""
        """Who brought the PROXY header."""

    def begin(self, fd: int) -> None:
        """Takes the row and the connection (`fd`), and greets."""
        runtime = self._runtime
        self._client = ClientConnection(runtime.context, fd, self)
        self._client.hear_of_reset()
        runtime.context.register(self.row_number, self, runtime.started_cell)
        try:
            if runtime.context.log.options:
                log_begin(runtime, self.sid, self._machine.peer(), client=self._client)
            self._show()
            self._deadlines.schedule_at(self._accepted_at + runtime.first_look)
            self._machine.begin()
            self._settle()
        except Exception as error:
            self.fault(error)

    # What the subclass has (optional_steps.py)

    def _take_lease(self, decision: Decision) -> bool:
        """Whether the cluster is asked before it goes on."""
        raise NotImplementedError

    def _introduction(self, backend: BackendRuntime) -> bytes:
        """The PROXY header for a backend, which is said first and in clear."""
        raise NotImplementedError

    def _tell_broken(self, failure: BackendFailure) -> None:
        """The connection to the backend is closed, or there never was one."""
        raise NotImplementedError

    def _taps(self) -> Taps | None:
        """Who hears what passes through the relay; nearly always nobody."""
        raise NotImplementedError

    def whose(self) -> Whose:
        raise NotImplementedError

    def cut_cost(self) -> CutCost:
        raise NotImplementedError

    def displaceable(self) -> tuple[str, float] | None:
        raise NotImplementedError

    def refresh(self) -> None:
        raise NotImplementedError

    # What follows each entry

    def _settle(self) -> None:
        """What a verb has deferred is done, replies leave, and after the last one it ends."""
        client = self._client
        while self._has_deferred:
            self._do_deferred()
            if self._over:
                return
        if client.unsent and not self._ending:
            client.flush_later()
        if self._ending:
            if not client.flush_last():
                self.end("client_reset")
            elif client.unsent:  # the last reply has not left: nothing else is waited for any more
                client.set_reading(False)
                self._stop_waiting()
            else:
                self.end(self._ending)
        elif not client.reads:
            client.set_reading(self._machine.wants_input())

    def _tell_if_open(self, entry: Callable[..., None], *facts: Any) -> None:
        """An entry that none of the parts brings: a turn of the loop, a deadline, a thread, the operator, the cluster.
        It may come late: where the session is over, or ends with its last reply, nothing is told.
        """
        if self._over or self._ending:
            return
        try:
            entry(*facts)
            self._settle()
        except Exception as error:
            self.fault(error)

    def fault(self, error: Exception) -> None:
        """An error of ours: it ends this session and nothing else."""
        self._runtime.context.log(SESSION_BUG, self.sid, error=kind_and_location_of(error))
        self.end("internal_error")

    # What a verb cannot do at once

    def _claim_turn(self) -> None:
        assert not self._has_deferred, "one entry begins one step at most"
        self._has_deferred = True

    def _defer(self, do: Callable[..., None], *facts: Any) -> None:
        self._claim_turn()
        self._call = do, facts

    def take_as_decided(self, decision: Decision) -> None:
        self._claim_turn()
        self._decision = decision

    def relay(self, to_client: bytes, to_backend: bytes) -> None:
        self._claim_turn()
        self._to_relay = to_client, to_backend

    def _do_deferred(self) -> None:
        """What is done here may defer something again."""
        decision, to_relay = self._decision, self._to_relay
        self._has_deferred = False
        if decision is not None:
            self._decision = None
            self._tell_decision(decision)
        elif to_relay is not None:
            self._to_relay = None
            to_client, to_backend = to_relay
            self._begin_relay(to_client, to_backend)
        else:
            assert self._call is not None
            (do, facts), self._call = self._call, None
            do(*facts)

    # The client

    def is_blocked(self, address: str) -> bool:
        runtime = self._runtime
        return runtime.blocked.read(0) != 0 and runtime.limits.blocks(address)

    def send(self, data: bytes) -> None:
        self._client.put(data)

    def client_says(self, data: bytes) -> None:
        machine = self._machine
        machine.client_says(data)
        self._settle()
        if len(machine.lines.held) > MOST_HELD and not self._over and not machine.wants_input():
            self._client.set_reading(False)

    def client_eof(self) -> None:
        self._machine.client_eof()
        self._settle()

    def client_took_all(self) -> None:
        if self._ending:
            self.end(self._ending)

    def client_broke(self) -> None:
        self.end("client_reset")

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
            self.take_as_decided(modules.ask(question, hide_unknown, self.sid))
            return
        asked = modules.ask_later(question, hide_unknown, self.sid, decided=self.decided)
        if isinstance(asked, (PendingQuestion, LoopQuestion)):
            self._login.question = asked
            self._deadlines.expect_within(seconds)
        else:
            self.take_as_decided(asked)

    def decided(self, decision: Decision) -> None:
        self._tell_if_open(self._tell_decision, decision)

    def _tell_decision(self, decision: Decision) -> None:
        self._deadlines.expect_nothing()
        if not (self._runtime.limited and self._take_lease(decision)):
            self._machine.decided(decision)

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

    def expect(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)

    def send_backend(self, data: bytes) -> None:
        connection = self._login.connection
        assert connection is not None
        if self._runtime.context.log.options:
            log_said(self._runtime, self.sid, data, is_open=not connection.greets)
        reason = connection.send(data)
        if reason:
            self._login.lost(reason)
            self._defer(self._tell_broken, BackendFailure(reason, ""))

    def backend_connected(self) -> None:
        self._time_login()
        self._machine.connected()
        self._settle()

    def backend_says(self, data: bytes) -> None:
        machine = self._machine
        if machine.phase is CONNECTING:
            self._time_login()
        if self._runtime.context.log.options:
            log_heard(self._runtime, self.sid, data)
        machine.backend_says(data)
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

    def relay_ended(self, ending: str) -> None:
        self._machine.relay_ended(ending)
        self._settle()

    # Who else hears

    def note(self, message: Message, fields: dict[str, object]) -> None:
        self._runtime.context.log(message, self.sid, **fields)

    def count(self, counter: str, label: str | None, ident: str) -> None:
        self._runtime.counters.count_one(counter, label, ident)

    # The end

    def _show(self) -> None:
        self._row.show(self._machine, self.sid, traffic_of(self._client, self._relay))

    def finish(self, ending: str, seconds: float) -> None:
        self._ending = ending
        if self._client.unsent:
            self._deadlines.expect_within(seconds)

    def _stop_waiting(self) -> None:
        relay = self._relay
        if relay is None:
            self._login.close()
            return
        if self._runtime.context.log.options:
            self._runtime.context.log.debug("NET", "backend_left", self.sid)
        relay.close()
        if self._places is not None:
            self._places.give_back()
            self._places = None

    def end(self, ending: str) -> None:
        """Once, for one reason. All parts are let go of, as they let go of us: so it is free without the collector."""
        if self._over:
            return
        self._over = True
        self._deadlines.stop()
        traffic = traffic_of(self._client, self._relay)
        self._row.add_traffic(traffic)
        self._stop_waiting()
        self._relay = None
        self._client.close(after_quit=ending == "quit" or ending == "absorbed")
        runtime, context, machine = self._runtime, self._runtime.context, self._machine
        seconds = context.clock.now - self._accepted_at
        log_end(runtime, machine, self.sid, ending, seconds, traffic, self._agreed, self._via)
        if runtime.orders.any:
            runtime.orders.forget(self.row_number)
        if runtime.limited or machine.counted:
            runtime.limits.leave(self.row_number)
        machine.over()
        self._machine = self._login = None  # type: ignore[assignment]
        context.unregister(self.row_number, ending, seconds)
        runtime.holders.release()
