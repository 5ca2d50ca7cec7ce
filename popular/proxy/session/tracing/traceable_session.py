"""A session that may have to be recorded: it does what every session does, and tells a `Recording` of it.

All other sessions are plain ones (session.py): where nobody is traced, nothing of this is there. While somebody is
traced by his name, or by his backend, all sessions are such as this; nearly all of them are never recorded
(unremarkable_session.py), and one is (recording.py) from the moment on at which it does something out of the ordinary.
"""

from popular.net.handshake import Agreed, Failure
from popular.pdm.contract import Question
from popular.pdm.decision import Decision
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Header
from popular.protocol.shown import is_open
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.machine.phases import NAMED
from popular.proxy.session.session import Session
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.tapped_relay import Tap, Taps
from popular.proxy.session.tracing import transcript
from popular.proxy.session.tracing.recorded_lines import lines_for
from popular.proxy.session.tracing.recorder import Recorder
from popular.proxy.session.tracing.recording import BEGINS_LATER, Recording
from popular.proxy.session.tracing.transcript import ours
from popular.proxy.session.tracing.unremarkable_session import UnremarkableSession
from supervisor.runtime.messages import Message


class RecordingTap(Tap):
    """Hears what the relay passes on."""

    __slots__ = ("_recording",)

    def __init__(self, recording: Recording) -> None:
        Tap.__init__(self)
        self._recording = recording

    def client_says(self, data: bytes) -> None:
        self._recording.client_says(data)

    def backend_says(self, data: bytes) -> None:
        self._recording.backend_says(data)


class TraceableSession(UnremarkableSession):
    """One."""

    __slots__ = ("_greets", "_told")

    def begin_traceable(self, fd: int, recording: Recording, recorder: Recorder) -> None:
        """Like `begin`, which goes for all others: what is said from here on is told to the recording."""
        self._begin_unremarkable(recorder)
        self._told = False
        """The backend has heard a secret, and may repeat it."""
        self._greets = True
        self._lines = None
        """Where each line of the client is heard by itself."""
        if recording is not BEGINS_LATER:
            self._is_unremarkable = False
            self._recording = recording
            recording.begin(self.sid, self._machine.peer(), self._runtime.rules.vserv)
        Session.begin(self, fd)

    # What is said

    def client_says(self, data: bytes) -> None:
        if self._is_unremarkable and not self._note_command_if_unremarkable(data):
            self._wake()
        if not self._is_unremarkable and self._lines is None:
            recording, machine = self._recording, self._machine
            if not machine.answers() or not recording.take_simple_command(data):
                machine.lines = self._lines = lines_for(machine, recording)
        Session.client_says(self, data)

    def send(self, data: bytes) -> None:
        if self._is_unremarkable and not self._note_reply_if_unremarkable(data):
            self._wake()
        if not self._is_unremarkable:
            recording, machine = self._recording, self._machine
            if machine.phase is NAMED:
                recording.user_named(machine.user)
            if not recording.quiet:
                recording.keep("P>C", ours, data)
        Session.send(self, data)

    def send_backend(self, data: bytes) -> None:
        recording = self._recording
        if not recording.quiet:
            recording.keep_now("P>B", transcript.to_backend if self._greets else transcript.to_silent_backend, data)
            self._told = self._told or not is_open(data)
        Session.send_backend(self, data)

    def backend_says(self, data: bytes) -> None:
        recording = self._recording
        if not recording.quiet:
            recording.keep_now("B>P", transcript.from_told_backend if self._told else transcript.from_backend, data)
        Session.backend_says(self, data)

    def _taps(self) -> Taps | None:
        taps: Taps | None = Session._taps(self)
        if self._recording.quiet or not self._recording.begin_relay():
            return taps
        more = taps.taps if taps is not None else []
        return Taps([*more, RecordingTap(self._recording)], len(self._client.unsent))

    # What happens

    def introduced(self, header: Header) -> None:
        if header.source is not None:
            self._awake_recording().address_known(header.source[0])
            self._recording.tell("PROXY header: client %s port %d", header.source[:2])
        Session.introduced(self, header)

    def tls_up(self, agreed: Agreed) -> None:
        resumed = ", resumed" if agreed.resumed else ""
        self._awake_recording().tell("TLS with the client: %s, %s%s", (agreed.version, agreed.cipher, resumed))
        Session.tls_up(self, agreed)

    def tls_failed(self, failure: Failure) -> None:
        self._awake_recording().tell("no TLS with the client: %s, %s", (failure.why, failure.reason))
        Session.tls_failed(self, failure)

    def ask(self, question: Question, seconds: float) -> None:
        recording = self._recording
        if self._is_unremarkable:
            self._asked_at = self._in_force.clock.now
        elif not recording.quiet:
            recording.login_wanted(question.namespace, question.user)
            recording.asking(question.namespace, question.user)
        Session.ask(self, question, seconds)

    def _tell_decision(self, decision: Decision) -> None:
        if self._is_unremarkable and not self._note_decision_if_unremarkable(decision):
            self._wake()
        recording = self._recording
        if not recording.quiet:
            route, said = getattr(decision, "route", None), type(decision).__name__
            if route is None:
                recording.tell("the modules have answered: %s", (said,))
            else:
                recording.answered(said, route.backend, route.target)
                recording.backend_chosen(route.backend)
        Session._tell_decision(self, decision)

    def _placed(self, backend: str) -> Recording:
        """Who hears of him at this backend."""
        if self._is_unremarkable:
            if self._is_unremarkable_at(backend):
                return self._recording
            self._wake()
        self._recording.backend_chosen(backend)
        return self._recording

    def check_mail(self, backend: BackendRuntime, mailbox: str, seconds: float) -> None:
        recording = self._placed(backend.id)
        if not recording.quiet:
            recording.tell("asking %s whether there is mail", (backend.address,))
        Session.check_mail(self, backend, mailbox, seconds)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        if not self._recording.quiet:
            self._recording.tell("the mail check: %s", (mail.name if mail is not None else reason,))
        Session.mail_checked(self, mail, reason)

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        self._greets, self._told = greets, False
        recording = self._placed(backend.id)
        if not recording.quiet:
            recording.tell("connecting to %s, %s port %d", (backend.id, backend.address, backend.port))
        Session.connect(self, backend, greets, seconds)

    def backend_reached(self, number: int) -> None:
        Session.backend_reached(self, number)
        if not self._recording.quiet:
            self._recording.tell("connected at its address number %d", (number + 1,))

    def backend_connected(self) -> None:
        if not self._recording.quiet:
            self._recording.tell("the backend is connected")
        Session.backend_connected(self)

    def backend_tls_up(self) -> None:
        if not self._recording.quiet:
            self._recording.tell("TLS with the backend")
        Session.backend_tls_up(self)

    def backend_broke(self, reason: str, word: str = "") -> None:
        self._awake_recording().tell("the backend is gone: %s", (reason,))
        Session.backend_broke(self, reason, word)

    def logged_in(self) -> None:
        recording = self._placed(self._machine.backend_id)
        if self._is_unremarkable:
            self._forget_first_words()
        else:
            if not recording.quiet:  # where everybody sees an empty mailbox nobody is asked
                recording.login_wanted(self._machine.namespace, self._machine.user)
                recording.backend_chosen(self._machine.backend_id)
            if not recording.quiet:
                recording.tell("logged in")
            recording.settle_ownership()
        Session.logged_in(self)

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        recording = self._awake_recording()
        if not recording.quiet:  # whose turn never comes is never asked about
            recording.login_wanted(self._machine.namespace, self._machine.user)
        recording.tell("held back for %.3f s", (seconds,))
        Session.hold(self, seconds, at_least)

    def note(self, message: Message, fields: dict[str, object]) -> None:
        recording = self._awake_recording()
        if not recording.quiet:
            recording.log(message.name, fields)
        Session.note(self, message, fields)

    def refresh(self) -> None:
        self._recording.flush()
        Session.refresh(self)

    def end(self, ending: str) -> None:
        try:
            if not self._over:
                self._recording.end(ending)
        finally:
            if self._lines is not None:
                self._lines.forget()
            Session.end(self, ending)


def session_to_trace(runtime: VservRuntime, row_number: int, peer: tuple[str, int]) -> TraceableSession:
    """A new one. Without `__init__`, which no compiled class has for nothing."""
    session = TraceableSession.__new__(TraceableSession)
    session._set_up(runtime, row_number, peer)
    return session
