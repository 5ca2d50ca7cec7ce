"""A session that may have to be recorded: it does what every session does, and tells a `SessionTrace` of it.

All other sessions are of its base class, `Session`: where nobody is traced, nothing of this is there. While somebody is
traced by his name, or by his backend, all sessions are such as this; nearly all of them are never recorded
(unremarkable_session.py), and one is (session_trace.py) from the moment on at which it does something that others do
not.
"""

from popular.net.handshake import Agreed, Failure
from popular.pdm.contract import Question
from popular.pdm.decision import Decision
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Header
from popular.protocol.shown import is_open
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.machine.phases import NAMED
from popular.proxy.session.optional_steps import Session
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.tapped_relay import Tap, Taps
from popular.proxy.session.tracing import transcript
from popular.proxy.session.tracing.client_lines import lines_for
from popular.proxy.session.tracing.session_trace import BEGINS_LATER, SessionTrace
from popular.proxy.session.tracing.trace_registry import TraceRegistry
from popular.proxy.session.tracing.transcript import ours
from popular.proxy.session.tracing.unremarkable_session import UnremarkableSession
from supervisor.runtime.messages import Message


class RecordingTap(Tap):
    """Hears what the relay passes on."""

    __slots__ = ("_session_trace",)

    def __init__(self, session_trace: SessionTrace) -> None:
        Tap.__init__(self)
        self._session_trace = session_trace

    def client_says(self, data: bytes) -> None:
        self._session_trace.client_says(data)

    def backend_says(self, data: bytes) -> None:
        self._session_trace.backend_says(data)


class TraceableSession(UnremarkableSession):
    """A session that may be traced: it tells its SessionTrace, while it has one, what happens."""

    __slots__ = ("_greets", "_told")

    def begin_traceable(self, fd: int, session_trace: SessionTrace, registry: TraceRegistry) -> None:
        """Like `begin`, which goes for all others: what is said from here on is told to the recording."""
        self._begin_unremarkable(registry)
        self._told = False
        """The backend has heard a secret, and may repeat it."""
        self._greets = True
        self._lines = None
        """Where each line of the client is heard by itself."""
        if session_trace is not BEGINS_LATER:
            self._is_unremarkable = False
            self._session_trace = session_trace
            session_trace.begin(self.sid, self._machine.peer(), self._runtime.rules.vserv)
        Session.begin(self, fd)

    # What is said

    def client_says(self, data: bytes) -> None:
        if self._is_unremarkable and not self._note_command_if_unremarkable(data):
            self._wake()
        if not self._is_unremarkable and self._lines is None:
            session_trace, machine = self._session_trace, self._machine
            if not machine.answers() or not session_trace.take_simple_command(data):
                machine.lines = self._lines = lines_for(machine, session_trace)
        Session.client_says(self, data)

    def send(self, data: bytes) -> None:
        if self._is_unremarkable and not self._note_reply_if_unremarkable(data):
            self._wake()
        if not self._is_unremarkable:
            session_trace, machine = self._session_trace, self._machine
            if machine.phase is NAMED:
                session_trace.user_named(machine.user)
            if not session_trace.quiet:
                session_trace.keep("P>C", ours, data)
        Session.send(self, data)

    def send_backend(self, data: bytes) -> None:
        session_trace = self._session_trace
        if not session_trace.quiet:
            session_trace.keep_now("P>B", transcript.to_backend if self._greets else transcript.to_silent_backend, data)
            self._told = self._told or not is_open(data)
        Session.send_backend(self, data)

    def backend_says(self, data: bytes) -> None:
        session_trace = self._session_trace
        if not session_trace.quiet:
            session_trace.keep_now("B>P", transcript.from_told_backend if self._told else transcript.from_backend, data)
        Session.backend_says(self, data)

    def _taps(self) -> Taps | None:
        taps: Taps | None = Session._taps(self)
        if self._session_trace.quiet or not self._session_trace.begin_relay():
            return taps
        more = taps.taps if taps is not None else []
        return Taps([*more, RecordingTap(self._session_trace)], len(self._client.unsent))

    # What happens

    def introduced(self, header: Header) -> None:
        if header.source is not None:
            self._awake_session_trace().address_known(header.source[0])
            self._session_trace.tell("PROXY header: client %s port %d", header.source[:2])
        Session.introduced(self, header)

    def tls_up(self, agreed: Agreed) -> None:
        resumed = ", resumed" if agreed.resumed else ""
        self._awake_session_trace().tell("TLS with the client: %s, %s%s", (agreed.version, agreed.cipher, resumed))
        Session.tls_up(self, agreed)

    def tls_failed(self, failure: Failure) -> None:
        self._awake_session_trace().tell("no TLS with the client: %s, %s", (failure.why, failure.reason))
        Session.tls_failed(self, failure)

    def ask(self, question: Question, seconds: float) -> None:
        session_trace = self._session_trace
        if self._is_unremarkable:
            self._asked_at = self._in_force.clock.now
        elif not session_trace.quiet:
            session_trace.login_wanted(question.namespace, question.user)
            session_trace.asking(question.namespace, question.user)
        Session.ask(self, question, seconds)

    def _tell_decision(self, decision: Decision) -> None:
        if self._is_unremarkable and not self._note_decision_if_unremarkable(decision):
            self._wake()
        session_trace = self._session_trace
        if not session_trace.quiet:
            route, said = getattr(decision, "route", None), type(decision).__name__
            if route is None:
                session_trace.tell("the modules have answered: %s", (said,))
            else:
                session_trace.answered(said, route.backend, route.target)
                session_trace.backend_chosen(route.backend)
        Session._tell_decision(self, decision)

    def _placed(self, backend: str) -> SessionTrace:
        """Who hears of him at this backend."""
        if self._is_unremarkable:
            if self._is_unremarkable_at(backend):
                return self._session_trace
            self._wake()
        self._session_trace.backend_chosen(backend)
        return self._session_trace

    def check_mail(self, backend: BackendRuntime, mailbox: str, seconds: float) -> None:
        session_trace = self._placed(backend.id)
        if not session_trace.quiet:
            session_trace.tell("asking %s whether there is mail", (backend.address,))
        Session.check_mail(self, backend, mailbox, seconds)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        if not self._session_trace.quiet:
            self._session_trace.tell("the mail check: %s", (mail.name if mail is not None else reason,))
        Session.mail_checked(self, mail, reason)

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        self._greets, self._told = greets, False
        session_trace = self._placed(backend.id)
        if not session_trace.quiet:
            session_trace.tell("connecting to %s, %s port %d", (backend.id, backend.address, backend.port))
        Session.connect(self, backend, greets, seconds)

    def backend_reached(self, number: int) -> None:
        Session.backend_reached(self, number)
        if not self._session_trace.quiet:
            self._session_trace.tell("connected at its address number %d", (number + 1,))

    def backend_connected(self) -> None:
        if not self._session_trace.quiet:
            self._session_trace.tell("the backend is connected")
        Session.backend_connected(self)

    def backend_tls_up(self) -> None:
        if not self._session_trace.quiet:
            self._session_trace.tell("TLS with the backend")
        Session.backend_tls_up(self)

    def backend_broke(self, reason: str, word: str = "") -> None:
        self._awake_session_trace().tell("the backend is gone: %s", (reason,))
        Session.backend_broke(self, reason, word)

    def logged_in(self) -> None:
        session_trace = self._placed(self._machine.backend_id)
        if self._is_unremarkable:
            self._forget_first_words()
        else:
            if not session_trace.quiet:  # where everybody sees an empty mailbox nobody is asked
                session_trace.login_wanted(self._machine.namespace, self._machine.user)
                session_trace.backend_chosen(self._machine.backend_id)
            if not session_trace.quiet:
                session_trace.tell("logged in")
            session_trace.settle_ownership()
        Session.logged_in(self)

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        session_trace = self._awake_session_trace()
        if not session_trace.quiet:  # whose turn never comes is never asked about
            session_trace.login_wanted(self._machine.namespace, self._machine.user)
        session_trace.tell("held back for %.3f s", (seconds,))
        Session.hold(self, seconds, at_least)

    def note(self, message: Message, fields: dict[str, object]) -> None:
        session_trace = self._awake_session_trace()
        if not session_trace.quiet:
            session_trace.log(message.name, fields)
        Session.note(self, message, fields)

    def refresh(self) -> None:
        self._session_trace.flush()
        Session.refresh(self)

    def end(self, ending: str) -> None:
        try:
            if not self._over:
                self._session_trace.end(ending)
        finally:
            if self._lines is not None:
                self._lines.forget()
            Session.end(self, ending)


def session_to_trace(runtime: VservRuntime, row_number: int, peer: tuple[str, int]) -> TraceableSession:
    """A new one. Without `__init__`, which no compiled class has for nothing."""
    session = TraceableSession.__new__(TraceableSession)
    session._set_up(runtime, row_number, peer)
    return session
