"""What one session has said, for the flight recorder (trace_registry.py), and whether anybody wants it.

A trace by user or backend concerns few sessions, and which ones is known only in the middle of a login. So it is all
about the others: what is said is kept as it is (trace_buffer.py), and made into lines only when the session is the one.
As soon as a login turns out to be somebody else's the recording is `quiet`: it keeps nothing until the client speaks
again, who may name another user then. After the login nothing is left of it.
"""

from popular.protocol.lines import single_line
from popular.protocol.shown import HIDDEN
from popular.proxy.session.tracing.trace_buffer import TraceBuffer, as_it_is, command_line
from popular.proxy.session.tracing.trace_filter import TraceFilter
from popular.proxy.session.tracing.trace_registry import NOBODY, TraceRegistry
from popular.proxy.session.tracing.transcript import PassedOn
from popular.proxy.session.tracing.transcript import command as transcribed
from popular.proxy.settings.order_sorts import user_key
from popular.proxy.settings.tracing import BACKEND, USER, VSERV
from supervisor.octets import word_at
from supervisor.system import wall

_PASS, _USER = word_at(b"PASS"), word_at(b"USER")
_CAPA, _STLS, _QUIT, _NOOP = word_at(b"CAPA"), word_at(b"STLS"), word_at(b"QUIT"), word_at(b"NOOP")
_BLANK = 32
_SHOWN_PASS = f"PASS {HIDDEN}"


def session_trace_of(registry: TraceRegistry, vserv: str, address: str | None) -> "SessionTrace | None":
    """For a new session; None if no trace can concern it, BEGINS_LATER if it is to be seen later whether one does.
    `address`: None if that is not known yet.
    """
    now = wall()
    in_force = registry.in_force
    if now >= in_force.until:
        return None
    here = registry.named(VSERV, vserv) if in_force.by_vserv and vserv in in_force.vservs else NOBODY
    around = NOBODY if address is None or in_force.is_elsewhere(address) else registry.around(address)
    waits = now < in_force.late_until or (address is None and in_force.by_network)
    if not here and not around and not waits:
        return None
    if not here and not around and address is not None:
        return BEGINS_LATER
    session_trace = SessionTrace.__new__(SessionTrace)
    session_trace._set_up(registry, in_force, now)
    session_trace.add_traces(here)
    session_trace.add_traces(around)
    return session_trace


def session_trace_of_later(registry: TraceRegistry, in_force: TraceFilter, began: float) -> "SessionTrace":
    """For a session that began then, by the worker's clock, and was not heard up to here."""
    session_trace = SessionTrace.__new__(SessionTrace)
    session_trace._set_up(registry, in_force, wall() - (in_force.clock.now - began))
    session_trace._began = began
    return session_trace


class SessionTrace(TraceBuffer):
    """What one session has said, and whom it concerns, which follows from what happens in it."""

    __slots__ = ("_asked_for", "_asked_in", "_in_force", "_over", "_passed")

    def _set_up(self, registry: TraceRegistry, in_force: TraceFilter, now: float) -> None:
        TraceBuffer._set_up(self, registry, in_force, now)
        self._in_force = in_force
        self._over = False
        """It never will be anybody's whom they trace."""
        self._asked_for = self._asked_in = ""
        """Who wanted to log in last, and in which namespace."""
        self._passed: PassedOn | None = None

    # Whose it is

    def address_known(self, address: str) -> None:
        """Its client's address."""
        self.add_traces(self._registry.around(address))
        if not self.matched and wall() >= self._in_force.late_until:
            self.settle_ownership()

    def user_named(self, user: str) -> None:
        """Whom the client has named, by USER. Somebody whom nobody traces may say PASS unheard."""
        self.quiet = not self.matched and not self._in_force.by_backend and user not in self._in_force.users

    def login_wanted(self, namespace: str, user: str) -> None:
        """Who wants to log in. Whether his backend is traced nobody knows yet."""
        if user != self._asked_for or namespace != self._asked_in:
            if self.matched:
                self._leave(user_key(namespace, user))
            if self._asked_for and self._beginning:
                self._forget_login()
        self._asked_for, self._asked_in = user, namespace
        if user in self._in_force.users:
            self.add_traces(self._registry.named(USER, user_key(namespace, user)))
        self.quiet = not self.matched and not self._in_force.by_backend

    def backend_chosen(self, backend: str) -> None:
        """The backend of his mailbox."""
        if self._in_force.by_backend and not self._over:
            if backend in self._in_force.backends:
                self.add_traces(self._registry.named(BACKEND, backend))
            self.quiet = not self.matched

    def _leave(self, key: str) -> None:
        """A login of somebody else: it is nothing to those who trace another user, or the backend of one."""
        stay = [trace for trace in self.matched if trace.of != BACKEND and (trace.of != USER or trace.name == key)]
        if len(stay) < len(self.matched):
            self.tell("somebody else wants to log in")
            self.flush()
            self.matched = stay
            self._octets = 0

    def settle_ownership(self) -> None:
        """By now it is known whose session it is: if it is nobody's, nothing is kept any more."""
        self._beginning = None
        if not self.matched:
            self._kept = None
            self.quiet = self._over = True

    # What the client says before the relay

    def take_simple_command(self, data: bytes) -> bool:
        """Keeps what has come of the client, if that is one whole command of those that may be kept as they are. False:
        it keeps nothing, and the lines have to be told apart (client_lines.py).
        """
        if self._over:
            return True
        length = single_line(data)
        return length >= 4 and self._take_if_plain(data, length)

    def client_line(self, line: bytes) -> None:
        """A command of the client's, who may name somebody else from here on."""
        if not self._over and not self._take_if_plain(line, len(line)):
            self.quiet = False
            self.keep_now("C>P", transcribed, line)

    def password_said(self) -> None:
        """PASS, of which nothing is kept but that."""
        if not self.quiet:
            self._keep("C>P", as_it_is, _SHOWN_PASS, None)

    def _take_if_plain(self, line: bytes, length: int) -> bool:
        """Keeps a command in which there can be no secret, or that it was PASS. False: it is another.

        `length`: its octets without the end.
        """
        word = word_at(line)
        if length > 4 and line[4] == _BLANK and word == _PASS:
            self.password_said()
            return True
        is_bare = length == 4 and word in (_CAPA, _STLS, _QUIT, _NOOP)
        if not is_bare and not (length > 4 and line[4] == _BLANK and word == _USER):
            return False
        self.quiet = False
        self._octets += length
        self._keep("C>P", command_line, line, None)
        return True

    # What the modules are asked

    def asking(self, namespace: str, user: str) -> None:
        """The modules are asked."""
        if not self.quiet:
            self.tell("asking the modules for %r, namespace %r", (user, namespace))

    def answered(self, kind: str, backend: str, target: str | None) -> None:
        """They have named a backend."""
        if not self.quiet:
            self.tell("the modules have answered: %s, backend %r, target %r", (kind, backend, target))

    # The relay

    def begin_relay(self) -> bool:
        """From here on what is passed on is to be told: True; or nobody wants it."""
        if not self.matched:
            return False
        self._passed = PassedOn()
        return True

    def client_says(self, data: bytes) -> None:
        """Passed on to the backend."""
        assert self._passed is not None
        self._pass(self._passed.client_says(data))

    def backend_says(self, data: bytes) -> None:
        """Passed on to the client."""
        assert self._passed is not None
        self._pass(self._passed.backend_says(data))

    def _pass(self, lines: list[tuple[str, str]]) -> None:
        for leg, line in lines:
            self._keep(leg, as_it_is, line, None)

    def end(self, ending: str) -> None:
        """The session is over."""
        if self.matched:
            if self._passed is not None:
                self._pass(self._passed.rest())
            self.tell("the end: %s", (ending,))
            self.flush()


BEGINS_LATER = SessionTrace.__new__(SessionTrace)
"""What a session has whose recording, if there is ever one, is made later. It keeps nothing, and nothing changes it."""
BEGINS_LATER.matched = NOBODY
BEGINS_LATER.quiet = BEGINS_LATER._over = True
