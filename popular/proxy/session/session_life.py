"""How a session begins, waits, shows itself and ends; what it does in between stands in session.py, on top of this.

It has the parts: a machine, deadlines, a client connection, what the login needs and a row of the table; where they
are needed, the reader of a PROXY header and a relay. Each event from the loop is one entry into the machine, with
`_settle` after it. No verb calls the machine (verbs.py): what a verb cannot do at once is deferred, one thing at a
time, and done by `_settle`. Whatever goes wrong in here costs this one session and is logged as a fault of ours: who
calls in here from the event loop catches what is raised, and says `fault`.

    finish      the verb by which the machine ends it: by `end`, as soon as the last reply has left
    _ending     the reason that `finish` gave: no more entries are made, and `_settle` only sends
    end         at once, whoever says it: `finish`, a client that broke, a fault, the operator
    _over       it has ended
"""

import functools
from collections.abc import Callable
from typing import Any

from popular.net.client import ClientConnection
from popular.net.deadlines import Deadlines
from popular.net.handshake import Agreed
from popular.pdm.decision import Decision
from popular.protocol.proxyheader import Endpoint
from popular.proxy.session.backend.backend_admission import BackendPlaces
from popular.proxy.session.header_reader import HeaderReader
from popular.proxy.session.limits.login_orders import AskedLogin
from popular.proxy.session.login_parts import LoginParts
from popular.proxy.session.machine.machine import LINGERING, Machine
from popular.proxy.session.machine.phases import SILENT
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.session.relay import Relay
from popular.proxy.session.relay_pair import LINGER_SECONDS
from popular.proxy.session.row import SessionRow, cost_of, marks_of, traffic_of
from popular.proxy.session.session_log import log_begin, log_end
from popular.proxy.session.shared.runtime import VservRuntime
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG, Message
from supervisor.serving.session import CutCost, Whose
from supervisor.system import wall


class SessionLife(Verbs):
    """One client connection from accept to close, but for what is said on it.

    It is the supervisor's `Session`, and owns the client connection and the deadlines.
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
        "_reached",
        "_reader",
        "_relay",
        "_row",
        "_runtime",
        "_tls_began",
        "_to_relay",
        "_via",
    )

    _client: ClientConnection

    def __init__(self, runtime: VservRuntime, row_number: int, peer: tuple[str, int]) -> None:
        self._set_up(runtime, row_number, peer)

    def _set_up(self, runtime: VservRuntime, row_number: int, peer: tuple[str, int]) -> None:
        """A method, and not `__init__`, because for a class after it that is no call of C in the compiled form."""
        self._runtime = runtime  # and not the parameter from here on: its type is known
        self._accepted_at = self._runtime.context.clock.now
        self.sid = self._runtime.context.session_id(self._runtime.sidprefix, wall())
        self.row_number = row_number
        self._via = ""
        """Who brought the PROXY header."""
        self._reached: Endpoint | None = None
        """Where he accepted the client, if he says so."""
        self._machine = Machine(self, self._runtime.around, peer)
        self._deadlines = Deadlines(self._runtime.context.wheel, self, self._accepted_at + self._runtime.authtimeout)
        self._login = LoginParts(runtime, self)  # until the relay begins: most sessions are idle, and need it no more
        self._places: BackendPlaces | None = None
        """The backend has given this session one of them, from then on."""
        self._row = SessionRow(runtime, row_number)
        self._reader: HeaderReader | None = None
        self._relay: Relay | None = None
        self._agreed: Agreed | None = None
        self._tls_began = 0.0
        self._has_deferred = False
        """One of the three below is there; nearly always of the first two, which go without a call in Python."""
        self._decision: Decision | None = None
        """What the modules have said at once: to be told."""
        self._to_relay: tuple[bytes, bytes] | None = None
        """The relay is to begin, after what each side is still to be sent."""
        self._call: tuple[Callable[..., None], tuple[Any, ...]] | None = None
        self._ending = ""
        """Why the session ends, as soon as the last reply has left."""
        self._over = False

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
            self._deadlines.look_at(self._accepted_at + runtime.first_look)
            self._machine.begin()
            self._settle()
        except Exception as error:
            self.fault(error)

    # Entries, and what follows them

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

    def _settle(self) -> None:
        """What follows each entry: what a verb has deferred is done, replies leave, and after the last one it ends."""
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

    # What a verb cannot do at once

    def _claim_turn(self) -> None:
        assert not self._has_deferred, "one entry begins one step at most"
        self._has_deferred = True

    def _defer(self, do: Callable[..., None], *facts: Any) -> None:
        self._claim_turn()
        self._call = do, facts

    def conclude(self, decision: Decision) -> None:
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

    def _tell_decision(self, decision: Decision) -> None:
        """What the modules say goes to the machine (session.py)."""
        raise NotImplementedError

    def _begin_relay(self, to_client: bytes, to_backend: bytes) -> None:
        """The relay begins (session.py)."""
        raise NotImplementedError

    # Verbs: waiting, telling, ending

    def is_blocked(self, address: str) -> bool:
        runtime = self._runtime
        return runtime.blocked.read(0) != 0 and runtime.limits.blocks(address)

    def expect(self, seconds: float) -> None:
        self._deadlines.expect_within(seconds)

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

    def note(self, message: Message, fields: dict[str, object]) -> None:
        self._runtime.context.log(message, self.sid, **fields)

    def count(self, counter: str, label: str | None, ident: str) -> None:
        self._runtime.counters.count_one(counter, label, ident)

    def finish(self, ending: str, seconds: float) -> None:
        self._ending = ending
        if self._client.unsent:
            self._deadlines.expect_within(seconds)

    # Time

    def idle_at(self) -> float:
        relay = self._relay
        if relay is not None:
            return relay.last_activity + (LINGER_SECONDS if relay.lingers else self._runtime.proxytimeout)
        return self._client.heard + self._runtime.idletimeout

    def expired(self, what: str) -> None:
        if self._ending:
            self.end(self._ending)
        else:
            self._tell_if_open(self._expire, what)

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
        self._row.show(self._machine, self.sid, traffic_of(self._client, self._relay))

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
