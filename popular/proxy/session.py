"""The driver of one proxy session: does what the machine says, and tells it what came of it. It decides nothing.

It holds the row of the table and the token; the two connections are `client_leg.py` and `backend_leg.py`, and, once
they are joined, `relay.py` works both. The way from the password to the relay is `login_driver.py`. Whatever goes wrong
in here costs this one session and is logged as a fault of ours; the worker goes on: who calls in here from the event
loop catches what is raised and says `fault`.
"""

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from popular.net.handshake import Agreed, Failure
from popular.pdm.chain import CannotTell
from popular.protocol.proxyheader import Header
from popular.proxy import actions
from popular.proxy.actions import Action
from popular.proxy.client_leg import ClientLeg
from popular.proxy.header_reader import HeaderReader
from popular.proxy.login_driver import LoginDriver
from popular.proxy.machine import Machine
from popular.proxy.phases import AWAITING_HEADER, CHECKING, ENDED, GREETED, RELAYING, STARTING_TLS, Phase
from popular.proxy.relay import LINGER_SECONDS
from popular.proxy.story import NOTHING_MOVED, Moved, tell, tell_handshake, tell_tls_failure
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG
from supervisor.serving.context import CutCost

if TYPE_CHECKING:
    from popular.proxy.service import Front, ProxyService

MOST_HELD = 1 << 14
"""Octets that a client may send ahead of an answer before it is no longer read."""
HANDSHAKE_SECONDS = 30.0
HEADER_SECONDS = 5.0
"""For the PROXY header: it is sent with the connection, by a machine that is near."""
CLOSING_SECONDS = 5.0
"""How long a last reply may take to leave."""

_EXPIRED = {"auth": "auth_timeout", "session": "session_timeout"}
_SILENT_PHASES = (STARTING_TLS, RELAYING, ENDED, AWAITING_HEADER)
"""In these the client is not read here. (A tuple, not a set: the hash of an enum is computed in Python.)"""


class Session(LoginDriver):
    """One client connection from accept to close."""

    __slots__ = ("_counted", "_shown", "_shown_at", "_token", "started_wall", "tls", "via")

    def __init__(
        self, service: "ProxyService", token: int, connection: socket.SocketType, peer: tuple[Any, ...], front: "Front"
    ) -> None:
        context = service.context
        self.started = self._began = now = context.clock.now
        self.started_wall = wall = time.time()
        super().__init__(context.wheel, now, service.authtimeout)
        self._service = service
        self._front = front
        self._context = context
        self._token = token
        self.rules = rules = front.rules
        self.peer = peer
        self.via = ""
        """Who brought the PROXY header."""
        self.sid = sid = context.session_id(service.sidprefix, wall)
        self.machine = Machine(rules, peer[0], peer[1], sid)
        self._client = ClientLeg(context, connection, self)
        self._backend = self._relay = self._asked = self._reached = None
        self._counted = NOTHING_MOVED
        self.tls: Agreed | None = None
        self.over = False

    def begin(self) -> None:
        """Takes the token and greets."""
        self._context.admit(self._token, self, self._front.started)
        try:
            self._show(self.started_wall)
            self.look_at(self.started + self._service.first_look)
            self._do(self.machine.begin())
            self._mind_if_greeted()
        except Exception as error:
            self.fault(error)

    def _mind_if_greeted(self) -> None:
        if not self.over and self.machine.phase is GREETED:  # not while TLS is being set up
            self._client.mind()

    # Actions

    def _do(self, todo: list[Action]) -> None:
        """Does what the machine says, in order."""
        for action in todo:
            if self.over:
                return
            _DEEDS[type(action)](self, action)
        if not self.over and self._client.paused:
            self._client.resume()

    def fault(self, error: Exception) -> None:
        """See LoginDriver. It ends this session and nothing else."""
        self._context.log(SESSION_BUG, self.sid, error=kind_and_location_of(error))
        self.end("internal_error")

    def _send(self, action: actions.Send) -> None:
        self._client.send(action.data)

    def _note(self, action: actions.Note) -> None:
        self._context.log(action.message, self.sid, **action.fields)

    def _count(self, action: actions.Count) -> None:
        self._service.counters.count(action.counter, action.label, action.ident)

    def _end(self, action: actions.End) -> None:
        """Now, or when the last reply has left."""
        if self._client.finish(action.ending):
            self.end(action.ending)
        else:
            self.expect_within(CLOSING_SECONDS)

    # The PROXY header

    def _await_header(self, _action: actions.AwaitHeader) -> None:
        self.expect_within(HEADER_SECONDS)
        self._asked = HeaderReader(self._context.loop, self._client.channel.connection, self)

    def introduced(self, header: Header) -> None:
        """See header_reader.Owner."""
        self._asked = None
        self.expect_nothing()
        self._reached = header.destination
        self.via = self.peer[0]
        if header.source is not None:
            self.peer = header.source
        self._do(self.machine.introduced(self.peer))
        if not self.over:
            self._show(time.time())
        self._mind_if_greeted()

    def header_failed(self, reason: str) -> None:
        """See header_reader.Owner."""
        self._asked = None
        self._do(self.machine.header_failed(reason))

    # The client

    def client_says(self, data: bytes) -> None:
        """See client_leg.Owner."""
        machine = self.machine
        self._do(machine.client_says(data))
        if len(machine.lines.held) > MOST_HELD and not self.over:
            self._client.mind()

    def client_ended(self) -> None:
        """See client_leg.Owner."""
        self._do(self.machine.client_eof())
        if not self.over and self._relay is None:
            self._client.mind()

    def listens(self) -> bool:
        """See client_leg.Owner."""
        machine = self.machine
        return machine.phase not in _SILENT_PHASES and len(machine.lines.held) <= MOST_HELD

    def _start_tls(self, _action: actions.StartTls) -> None:
        self.expect_within(HANDSHAKE_SECONDS)
        self._began = self._context.clock.now
        self._client.start_tls(self._service.tls[self.rules.vserv])

    def tls_up(self, agreed: Agreed) -> None:
        """See client_leg.Owner."""
        self.expect_nothing()
        self.tls = agreed
        self._service.counters.observe("tls_handshake_duration", self._context.clock.now - self._began)
        tell_handshake(self._context, self.sid, agreed)
        self._do(self.machine.tls_up(agreed.certificate_name))

    def tls_failed(self, failure: Failure) -> None:
        """See client_leg.Owner."""
        tell_tls_failure(self._context, self, failure)
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
            try:
                self._step_expired()
            except Exception as error:
                self.fault(error)
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
        phase = self.machine.phase
        if self._asked is not None:
            self._asked.close()
            self._asked = None
        if self._client.last_ending:
            self.end(self._client.last_ending)
        elif phase is STARTING_TLS:
            self.tls_failed(Failure("timeout", f"not done within {HANDSHAKE_SECONDS:.0f} s"))
        elif phase is AWAITING_HEADER:
            self.header_failed(f"no header within {HEADER_SECONDS:g} s")
        elif phase is CHECKING:
            self._checked(None, "no answer in time")
        elif self._backend is not None:
            reason = self._backend.describe_silence()
            self._leave_backend()
            self.backend_broke(reason, "timeout")
        else:
            self._decided(CannotTell("no answer in time"))

    # The table, and the end

    def cut_cost(self) -> CutCost:
        """See supervisor.serving.context.Session."""
        relay = self._relay
        if relay is None:
            return CutCost.IDLE if self.machine.phase is Phase.SIMULATING else CutCost.NOT_LOGGED_IN
        if relay.watch.quit:
            return CutCost.COMMITTING
        return CutCost.IN_TRANSFER if relay.busy else CutCost.IDLE

    def refresh(self) -> None:
        """See supervisor.serving.context.Session."""
        relay = self._relay
        if relay is not None and relay.lingers:
            self.set_alarm()
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
        numbers = self._context.cells
        from_client, to_client, from_backend, to_backend = self._service.moved
        before, self._counted = self._counted, moved
        numbers[from_client] += moved[0] - before[0]
        numbers[to_client] += moved[1] - before[1]
        if self._relay is not None:
            numbers[from_backend] += moved[2] - before[2]
            numbers[to_backend] += moved[3] - before[3]

    def _show(self, since: float) -> None:
        machine, relay, context = self.machine, self._relay, self._context
        received, sent, _, _ = self._moved()
        self._shown = phase = machine.phase
        self._shown_at = context.clock.now
        context.write_row(
            self._token,
            phase,
            context.pid,
            self.started_wall,
            since,
            self.sid.encode(),
            self.peer[0].encode(),
            self.peer[1],
            self.rules.vserv.encode(),
            machine.user.encode(),
            machine.backend.encode(),
            machine.target.encode(),
            received,
            sent,
            0 if relay is None else relay.watch.deletes,
        )

    def end(self, ending: str) -> None:
        """Once, for one reason: closes everything, frees the row, gives the token back, writes the story."""
        if self.over:
            return
        self.over = True
        self.no_alarm()
        if self._asked is not None:
            self._asked.close()
        moved = self._moved()
        self._count_moved(moved)
        if self._relay is not None:
            self._relay.close()
            self._relay = None
        self._leave_backend()
        self._client.close(ending)
        seconds = self._context.clock.now - self.started
        tell(self._context, self, ending, seconds, moved)
        self._context.release(self._token, ending, seconds)
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
