"""The driver of one proxy session: does what the machine says, and tells it what came of it. It decides nothing.

It holds the sockets, the deadlines and the row of the table. Whatever goes wrong in here costs this one session and is
logged as a fault of ours; the worker goes on.
"""

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from popular import messages
from popular.net.channel import Channel, TlsChannel
from popular.pdm import chain
from popular.pdm.chain import CannotTell, Decision
from popular.protocol.mailcheck import Mail
from popular.proxy import actions
from popular.proxy.machine import Machine, Phase, Rules
from popular.proxy.mailcheck import MailQuestion
from popular.proxy.relay import Relay
from supervisor.listeners import keep_alive
from supervisor.messages import SESSION_BUG
from supervisor.wheel import Bucket

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

_NEVER = float("inf")


class Session:
    """One client connection from accept to close."""

    __slots__ = (
        "_backend",
        "_check",
        "_client",
        "_client_eof",
        "_ending",
        "_from_client",
        "_heard",
        "_last_ending",
        "_machine",
        "_out",
        "_peer",
        "_reading",
        "_relay",
        "_rules",
        "_service",
        "_shop",
        "_shown",
        "_started",
        "_started_wall",
        "_time_of_session",
        "_time_of_step",
        "_time_to_log_in",
        "_to_client",
        "_token",
        "_wakes",
        "bucket",
        "sid",
    )

    def __init__(
        self, service: "ProxyService", token: int, connection: socket.socket, peer: tuple[Any, ...], rules: Rules
    ) -> None:
        now = time.monotonic()
        self._service = service
        self._shop = service.shop
        self._token = token
        self._rules = rules
        self._peer = peer
        self._client = Channel(connection)
        self._client_eof = False
        self._backend: Channel | None = None
        self._relay: Relay | None = None
        self._check: MailQuestion | None = None
        self._out = b""
        self._reading = False
        self._ending = ""
        self._last_ending = ""
        self._shown = 0
        self._from_client = 0
        self._to_client = 0
        self._started = self._heard = now
        self._started_wall = time.time()
        self._time_to_log_in = now + service.authtimeout
        self._time_of_session = _NEVER
        self._time_of_step = _NEVER
        self._wakes = _NEVER
        self.bucket: Bucket | None = None
        self.sid = self._shop.session_id(service.sidprefix)
        self._machine = Machine(rules, peer[0], self.sid)

    def begin(self) -> None:
        """Takes the token and greets."""
        self._shop.admit(self._token, self)
        self._guarded(self._begin)

    def _begin(self) -> None:
        self._do(self._machine.begin())
        self._set_alarm()

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """Runs a step; an error of ours ends this session and nothing else."""
        try:
            step(*arguments)
        except Exception as error:
            self._shop.log(SESSION_BUG, self.sid, error=f"{type(error).__name__} at {_place(error)}")
            self._over("internal_error")

    # Actions

    def _do(self, todo: list[actions.Action]) -> None:
        """Does them in order. Neighbouring replies leave in one piece."""
        said = b""
        for action in todo:
            if type(action) is actions.Send:
                said += action.data
                continue
            if said:
                self._send(said)
                said = b""
            if self._ending:
                return
            _DEEDS[type(action)](self, action)
        if said:
            self._send(said)
        if not self._ending:
            self._show()
            self._mind_reading()

    def _send(self, data: bytes) -> None:
        if self._ending:
            return
        if "POP" in self._shop.log.options:
            self._debug("server", data)
        self._to_client += len(data)
        if not self._out:
            try:
                data = data[self._client.send(data) :]
            except OSError:
                self._over("client_reset")
                return
            if data:
                self._shop.loop.add_writer(self._client.fd, self._client_writable)
        self._out += data

    def _client_writable(self) -> None:
        try:
            self._out = self._out[self._client.send(self._out) :]
        except OSError:
            self._over("client_reset")
            return
        if not self._out:
            self._shop.loop.remove_writer(self._client.fd)
            if self._machine.phase is Phase.ENDED:
                self._over(self._last_ending)
            else:
                self._mind_reading()

    def _ask(self, action: actions.Ask) -> None:
        service = self._service
        if "AUTH" in self._shop.log.options:
            question = action.question
            self._shop.log.debug("AUTH", "question", self.sid, user=question.user, namespace=question.namespace)
        if not service.modules_block:
            self._decided(chain.ask(service.modules, action.question, hide_unknown=not self._rules.fallback))
            return
        self._expect_within(MODULE_SECONDS)
        service.ask_in_pool(action.question, not self._rules.fallback, self._pool_decided)

    def _pool_decided(self, decision: Decision) -> None:
        if not self._ending:
            self._guarded(self._decided, decision)

    def _decided(self, decision: Decision) -> None:
        self._time_of_step = _NEVER
        if "AUTH" in self._shop.log.options:
            self._shop.log.debug("AUTH", "decision", self.sid, decision=type(decision).__name__)
        if isinstance(decision, CannotTell):
            self._shop.log.debug("AUTH", "failure", self.sid, reason=decision.reason)
        self._do(self._machine.decided(decision))

    def _check_mail(self, action: actions.CheckMail) -> None:
        service = self._service
        self._expect_within(service.checktimeout)
        try:
            self._check = MailQuestion(
                self._shop.loop, action.backend.host, service.checkport, action.mailbox, self._checked
            )
        except OSError as error:
            self._checked(None, error.strerror or type(error).__name__)

    def _checked(self, mail: Mail | None, reason: str) -> None:
        self._check = None
        self._time_of_step = _NEVER
        if mail is None:
            self._shop.log(messages.CHECK_FAILED, self.sid, backend=self._machine.backend, reason=reason)
        self._guarded(lambda: self._do(self._machine.checked(mail)))

    def _connect(self, action: actions.Connect) -> None:
        self._expect_within(BACKEND_SECONDS)
        backend = action.backend
        family = socket.AF_INET6 if ":" in backend.host else socket.AF_INET
        try:
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._do(self._machine.backend_failed(error.strerror or type(error).__name__))
            return
        self._backend = Channel(connection)
        try:
            keep_alive(connection)
            connection.connect((backend.host, backend.port))
        except BlockingIOError:
            pass
        except OSError as error:
            self._backend_failed(error)
            return
        self._shop.loop.add_writer(self._backend.fd, self._connected)

    def _connected(self) -> None:
        assert self._backend is not None
        self._shop.loop.remove_writer(self._backend.fd)
        number = self._backend.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._guarded(self._backend_failed, OSError(number, os.strerror(number)))
            return
        self._expect_within(BACKEND_SECONDS)
        self._shop.loop.add_reader(self._backend.fd, self._backend_readable)
        self._guarded(lambda: self._do(self._machine.connected()))

    def _backend_readable(self) -> None:
        assert self._backend is not None
        try:
            data = self._backend.receive(READ_SIZE)
        except OSError as error:
            self._guarded(self._backend_failed, error)
            return
        if data is None:
            return
        if not data:
            self._guarded(self._backend_failed, ConnectionError("it closed the connection"))
            return
        if "NET" in self._shop.log.options:
            self._shop.log.debug("NET", "backend_said", self.sid, octets=len(data))
        self._guarded(lambda: self._do(self._machine.backend_says(data)))

    def _backend_failed(self, error: OSError) -> None:
        self._leave_backend()
        self._time_of_step = _NEVER
        self._do(self._machine.backend_failed(error.strerror or str(error) or type(error).__name__))

    def _send_backend(self, action: actions.SendBackend) -> None:
        """The login is a few hundred octets on a connection that was just made: what does not fit at once never will."""
        assert self._backend is not None
        try:
            sent = self._backend.send(action.data)
        except OSError as error:
            self._backend_failed(error)
            return
        if sent < len(action.data):
            self._backend_failed(ConnectionError("it does not take our login"))

    def _leave_backend(self, _action: object = None) -> None:
        self._time_of_step = _NEVER
        if self._backend is not None:
            self._shop.loop.remove_reader(self._backend.fd)
            self._shop.loop.remove_writer(self._backend.fd)
            self._backend.connection.close()
            self._backend = None

    def _start_tls(self, _action: actions.StartTls) -> None:
        loop = self._shop.loop
        self._mind_reading()
        try:
            self._client = TlsChannel(self._client.connection, self._service.contexts[self._rules.vserv])
        except OSError as error:
            self._tls_failed(error)
            return
        loop.add_reader(self._client.fd, self._shake_hands)

    def _shake_hands(self) -> None:
        assert isinstance(self._client, TlsChannel)
        loop = self._shop.loop
        try:
            wanted = self._client.handshake()
        except OSError as error:
            self._tls_failed(error)
            return
        if wanted == "write":
            loop.add_writer(self._client.fd, self._shake_hands)
            return
        loop.remove_writer(self._client.fd)
        if wanted is None:
            loop.remove_reader(self._client.fd)
            self._guarded(lambda: self._do(self._machine.tls_up()))

    def _tls_failed(self, error: OSError) -> None:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        self._shop.log(messages.TLS_FAILED, self.sid, client=self._peer[0], reason=reason)
        self._over("tls_failed")

    def _logged_in(self, _action: actions.LoggedIn) -> None:
        self._time_to_log_in = _NEVER
        self._time_of_step = _NEVER
        self._time_of_session = time.monotonic() + self._service.sessiontimeout
        self._set_alarm()

    def _start_relay(self, action: actions.Relay) -> None:
        assert self._backend is not None
        loop = self._shop.loop
        self._stop_reading()
        loop.remove_writer(self._client.fd)
        self._relay = Relay(loop, self._client, self._backend, self._service.pipes, self._over, self._client_eof)
        waiting, self._out = self._out, b""
        self._relay.begin(waiting + action.to_client, action.to_backend)

    def _note(self, action: actions.Note) -> None:
        self._shop.log(action.message, self.sid, **action.fields)

    def _count(self, action: actions.Count) -> None:
        self._shop.counters[self._shop.cell(action.counter, action.label)] += 1

    def _end(self, action: actions.End) -> None:
        """Now, or when the last reply has left."""
        if not self._out:
            self._over(action.ending)
            return
        self._last_ending = action.ending
        self._stop_reading()
        self._expect_within(CLOSING_SECONDS)

    # The client

    def _client_readable(self) -> None:
        while True:
            try:
                data = self._client.receive(READ_SIZE)
            except OSError:
                self._over("client_reset")
                return
            if data is None:
                return
            self._heard = time.monotonic()
            if not data:
                self._client_eof = True
                self._stop_reading()
                self._guarded(lambda: self._do(self._machine.client_eof()))
                return
            self._from_client += len(data)
            if "POP" in self._shop.log.options:
                self._debug("client", data)
            self._guarded(self._hear, data)
            if not self._reading or not self._client.pending:
                return

    def _hear(self, data: bytes) -> None:
        self._do(self._machine.client_says(data))

    def _mind_reading(self) -> None:
        """Reads the client unless it is ahead of us: with answers that it does not take, or with too many questions."""
        phase = self._machine.phase
        wanted = not (
            self._out
            or self._client_eof
            or self._machine.held > MOST_HELD
            or phase is Phase.STARTING_TLS
            or phase is Phase.RELAYING
            or phase is Phase.ENDED
        )
        if wanted and not self._reading:
            self._reading = True
            self._shop.loop.add_reader(self._client.fd, self._client_readable)
        elif self._reading and not wanted:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._shop.loop.remove_reader(self._client.fd)

    # Time

    def _expect_within(self, seconds: float) -> None:
        """The next step has to happen in time."""
        self._time_of_step = time.monotonic() + seconds
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Asks the wheel for the earliest deadline, unless it calls earlier anyway."""
        if self._ending:
            return
        earliest = min(self._time_to_log_in, self._time_of_step, self._time_of_session, self._time_of_idling())
        if earliest < self._wakes:
            self._wakes = earliest
            self._shop.wheel.put(self, earliest)

    def _time_of_idling(self) -> float:
        if self._relay is not None:
            return self._relay.active + self._service.proxytimeout
        return self._heard + self._service.idletimeout

    def on_time(self, now: float) -> None:
        """See supervisor.wheel.Timed. A deadline closes without a word (RFC 1939 section 3)."""
        self._wakes = _NEVER
        if now >= self._time_of_step:
            self._time_of_step = _NEVER
            self._guarded(self._step_timed_out)
        elif now >= self._time_to_log_in:
            self._over("auth_timeout")
        elif now >= self._time_of_session:
            self._over("session_timeout")
        elif now >= self._time_of_idling():
            self._over("idle_timeout" if self._relay is None else "proxy_timeout")
        if not self._ending:
            self._show()
            self._set_alarm()

    def _step_timed_out(self) -> None:
        if self._machine.phase is Phase.ENDED:
            self._over(self._last_ending)
            return
        if self._check is not None:
            self._check.close()
            self._checked(None, "no answer in time")
            return
        todo = self._machine.step_timed_out()
        self._leave_backend()
        self._do(todo)

    # The table and the log

    def _show(self) -> None:
        """Writes the row, if something is new."""
        phase = self._machine.phase
        if phase == self._shown and phase is not Phase.RELAYING:
            return
        self._shown = phase
        machine, relay = self._machine, self._relay
        self._shop.write_row(
            self._token,
            phase,
            self._started_wall,
            time.time(),
            self.sid.encode(),
            self._peer[0].encode(),
            self._peer[1],
            self._rules.vserv.encode(),
            machine.user.encode(),
            machine.backend.encode(),
            machine.target.encode(),
            self._from_client + (relay.from_client if relay is not None else 0),
            self._to_client + (relay.to_client if relay is not None else 0),
            relay.watch.deletes if relay is not None else 0,
        )

    def _debug(self, who: str, data: bytes) -> None:
        for line in data.split(b"\r\n"):
            if line and "PASS" not in self._shop.log.options and line[:5].upper() == b"PASS ":
                line = b"PASS ****"
            if line:
                self._shop.log.debug("POP", who, self.sid, line=line.decode("utf-8", "replace"))

    # The end

    def end(self, ending: str) -> None:
        """See supervisor.workshop.Session."""
        self._over(ending)

    def _over(self, ending: str) -> None:
        """Once, for one reason: closes everything, frees the row, gives the token back, writes the story."""
        if self._ending:
            return
        self._ending = ending
        loop = self._shop.loop
        self._shop.wheel.remove(self)
        if self._check is not None:
            self._check.close()
        relay = self._relay
        if relay is not None:
            relay.close()
            self._from_client += relay.from_client
            self._to_client += relay.to_client
        else:
            self._stop_reading()
            loop.remove_reader(self._client.fd)
            loop.remove_writer(self._client.fd)
        self._leave_backend()
        self._client.close()
        self._tell_the_story(ending)
        self._shop.release(self._token, ending)
        self._service.session_over()

    def _tell_the_story(self, ending: str) -> None:
        machine = self._machine
        counters, shop = self._shop.counters, self._shop
        counters[shop.cell("octets_from_clients")] += self._from_client
        counters[shop.cell("octets_to_clients")] += self._to_client
        shop.log(
            messages.SESSION_END,
            self.sid,
            client=self._peer[0],
            vserv=self._rules.vserv,
            namespace=machine.namespace,
            user=machine.user,
            backend=machine.backend,
            target=machine.target,
            ending=ending,
            seconds=round(time.monotonic() - self._started, 3),
            received=self._from_client,
            sent=self._to_client,
        )


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


def _place(error: BaseException) -> str:
    """File and line of an error: enough to find it, and no value that could be a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else "?"
