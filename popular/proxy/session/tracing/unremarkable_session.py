"""A session of which nobody knows yet whether it is to be recorded: in clear it turns out for nearly all that they are
not, and nothing is made for them.

So long as it is unremarkable its first words stand in fields: the greeting, a name that is in no trace by user, the
reply; where backends are traced also what the modules said. Whatever else happens wakes it: then there is a
`SessionTrace`, which is told what the fields have, and hears the session from there on.
"""

from popular.pdm.decision import Decision
from popular.protocol.lines import single_line
from popular.proxy.session.machine.phases import NAMED
from popular.proxy.session.optional_steps import Session
from popular.proxy.session.tracing.client_lines import ClientLines
from popular.proxy.session.tracing.session_trace import BEGINS_LATER, SessionTrace, session_trace_of_later
from popular.proxy.session.tracing.trace_registry import TraceRegistry
from popular.proxy.session.tracing.transcript import ours
from supervisor.octets import word_at

_PASS, _USER = word_at(b"PASS"), word_at(b"USER")
_BLANK = 32


class UnremarkableSession(Session):
    """What `TraceableSession` has for the time before its recording. A method `_note_…_if_unremarkable` says False, and
    has noted nothing, where a recording has to hear what happens.
    """

    __slots__ = (
        "_asked_at",
        "_decided_at",
        "_greeting",
        "_home",
        "_in_force",
        "_is_unremarkable",
        "_lines",
        "_may_be_wanted",
        "_name_at",
        "_name_line",
        "_named",
        "_of",
        "_pass_at",
        "_registry",
        "_reply",
        "_session_trace",
        "_target",
    )

    _registry: TraceRegistry
    _session_trace: SessionTrace
    _lines: ClientLines | None

    def _begin_unremarkable(self, registry: TraceRegistry) -> None:
        """Nobody knows yet whether it concerns anybody. In the compiled form what is empty is so already."""
        self._registry, self._in_force = registry, registry.in_force
        self._session_trace = BEGINS_LATER
        self._is_unremarkable = self._may_be_wanted = True
        """`_may_be_wanted`: somebody may want to read what is said now."""
        self._greeting: bytes | None = None
        self._name_line: bytes | None = None
        self._reply: bytes | None = None
        self._named: str | None = None
        """Whom the client has named, and in which namespace he is (`_of`)."""
        self._of: str | None = None
        self._home: str | None = None
        """The backend that the modules have named, and the mailbox there (`_target`)."""
        self._target: str | None = None
        self._name_at = self._pass_at = self._asked_at = self._decided_at = 0.0

    def _note_command_if_unremarkable(self, data: bytes) -> bool:
        """Keeps USER or PASS for a record made later; False: this is more than that, and must be recorded now."""
        if single_line(data) <= 4 or data[4] != _BLANK or not self._machine.answers():
            return False
        word = word_at(data)
        if self._name_line is None:
            if word != _USER:
                return False
            self._name_line, self._name_at = data, self._in_force.clock.now
            return True
        if word != _PASS or self._reply is None or self._pass_at:
            return False
        self._pass_at = self._in_force.clock.now
        return True

    def _note_reply_if_unremarkable(self, data: bytes) -> bool:
        """Keeps a reply of ours in the same way."""
        if self._greeting is None:
            self._greeting = data
            return True
        if self._reply is not None:
            return not self._may_be_wanted
        machine = self._machine
        if self._name_line is None or machine.phase is not NAMED or machine.user in self._in_force.users:
            return False
        self._reply, self._named, self._of = data, machine.user, machine.namespace
        self._may_be_wanted = self._in_force.by_backend
        return True

    def _note_decision_if_unremarkable(self, decision: Decision) -> bool:
        """What the modules say: only where they lead to a backend is all said that is to be known of it."""
        if not self._may_be_wanted:
            return True
        route = getattr(decision, "route", None)
        if route is None:
            return False
        backend = route.backend
        if backend in self._in_force.backends:
            return False
        self._home, self._target = backend, route.target
        self._decided_at = self._in_force.clock.now
        self._may_be_wanted = False
        return True

    def _is_unremarkable_at(self, backend: str) -> bool:
        """Whether nobody wants to read of him there, which need not be where the modules lead: it may be down."""
        return not self._in_force.by_backend or backend == self._home or backend not in self._in_force.backends

    def _awake_session_trace(self) -> SessionTrace:
        """Who hears what happens now, out of the ordinary: wakes it if somebody may want to read it."""
        return self._wake() if self._is_unremarkable and self._may_be_wanted else self._session_trace

    def _wake(self) -> SessionTrace:
        """Who hears it from here on, and knows all that was said."""
        self._is_unremarkable = False
        self._session_trace = session_trace = session_trace_of_later(self._registry, self._in_force, self._accepted_at)
        session_trace.begin(self.sid, self._machine.peer(), self._runtime.rules.vserv)
        if self._greeting is not None:
            session_trace.keep("P>C", ours, self._greeting)
            session_trace.was_at(self._accepted_at)
        if self._name_line is not None:
            session_trace.take_simple_command(self._name_line)
            session_trace.was_at(self._name_at)
        if self._named is not None and self._reply is not None and self._of is not None:
            session_trace.user_named(self._named)
            session_trace.keep("P>C", ours, self._reply)
            session_trace.was_at(self._name_at)
            if self._pass_at:
                session_trace.password_said()
                session_trace.was_at(self._pass_at)
            if self._asked_at:
                session_trace.login_wanted(self._of, self._named)
                session_trace.asking(self._of, self._named)
                session_trace.was_at(self._asked_at)
            if self._home is not None:
                session_trace.answered("Admitted", self._home, self._target)
                session_trace.was_at(self._decided_at)
                session_trace.backend_chosen(self._home)
        self._forget_first_words()
        return session_trace

    def _forget_first_words(self) -> None:
        """Its first words are of no use any more."""
        self._is_unremarkable = False
        self._greeting = self._name_line = self._reply = None
