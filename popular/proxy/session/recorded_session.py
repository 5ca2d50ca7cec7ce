"""A session that is recorded, or may have to be: it does what every session does, and tells a `Recording` of it.

All other sessions are plain ones (session.py): where nobody is traced, nothing of this is there.
"""

import time
from functools import partial
from typing import Any

from popular.net.handshake import Agreed, Failure
from popular.pdm.chain import Decision
from popular.pdm.contract import Question
from popular.protocol.mailcheck import Mail
from popular.protocol.proxyheader import Header
from popular.proxy.session import transcript
from popular.proxy.session.recorded_machine import RecordedMachine
from popular.proxy.session.recorder import Recording
from popular.proxy.session.runtime import VservRuntime
from popular.proxy.session.session import Session
from popular.proxy.session.tapped_relay import Tap, Taps
from popular.proxy.settings.backend import Backend
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


class RecordedSession(Session):
    """One."""

    __slots__ = ("_greets", "_recording", "_told")

    def __init__(
        self, runtime: VservRuntime, token: int, fd: int, *, peer: tuple[str, int], recording: Recording
    ) -> None:
        Session.__init__(self, runtime, token, fd, peer=peer)
        self._recording = recording
        self._told = False
        """The backend has heard a secret, and may repeat it."""
        self._greets = True
        recording.sid = self.sid
        self._machine = RecordedMachine(self, runtime.around, peer, recording=recording)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        recording.tell(f"{now} session of {peer[0]} port {peer[1]} at {runtime.rules.vserv}")

    # What is said

    def send(self, data: bytes) -> None:
        self._recording.keep("P>C", partial(transcript.ours, data), len(data))
        Session.send(self, data)

    def send_backend(self, data: bytes) -> None:
        greets = self._greets
        self._recording.keep("P>B", partial(transcript.to_backend, data, greets=greets), len(data))
        self._told = self._told or transcript.tells_a_secret(data)
        Session.send_backend(self, data)

    def backend_says(self, data: bytes) -> None:
        self._recording.keep("B>P", partial(transcript.from_backend, data, told=self._told), len(data))
        Session.backend_says(self, data)

    def _taps(self) -> Taps | None:
        taps: Taps | None = Session._taps(self)
        if not self._recording.listens():
            return taps
        more = taps.taps if taps is not None else []
        return Taps([*more, RecordingTap(self._recording)], len(self._client.unsent))

    # What happens

    def introduced(self, header: Header) -> None:
        if header.source is not None:
            self._recording.comes_from(header.source[0])
            self._recording.tell(f"PROXY header: client {header.source[0]} port {header.source[1]}")
        Session.introduced(self, header)

    def tls_up(self, agreed: Agreed) -> None:
        resumed = ", resumed" if agreed.resumed else ""
        self._recording.tell(f"TLS with the client: {agreed.version}, {agreed.cipher}{resumed}")
        Session.tls_up(self, agreed)

    def tls_failed(self, failure: Failure) -> None:
        self._recording.tell(f"no TLS with the client: {failure.why}, {failure.reason}")
        Session.tls_failed(self, failure)

    def ask(self, question: Question, seconds: float) -> None:
        self._recording.asks_for(question.user)
        self._recording.tell(f"asking the modules for {question.user!r}, namespace {question.namespace!r}")
        Session.ask(self, question, seconds)

    def _tell_decision(self, decision: Decision) -> None:
        route = getattr(decision, "route", None)
        where = f", backend {route.backend!r}, target {route.target!r}" if route is not None else ""
        if route is not None:
            self._recording.goes_to(route.backend)
        self._recording.tell(f"the modules have answered: {type(decision).__name__}{where}")
        Session._tell_decision(self, decision)

    def check_mail(self, backend: Backend, mailbox: str, seconds: float) -> None:
        self._recording.goes_to(backend.id)
        self._recording.tell(f"asking {backend.address} whether there is mail")
        Session.check_mail(self, backend, mailbox, seconds)

    def mail_checked(self, mail: Mail | None, reason: str) -> None:
        self._recording.tell(f"the mail check: {mail.name if mail is not None else reason}")
        Session.mail_checked(self, mail, reason)

    def connect(self, backend: Backend, greets: bool, seconds: float) -> None:
        self._greets, self._told = greets, False
        self._recording.goes_to(backend.id)
        self._recording.tell(f"connecting to {backend.id}, {backend.address} port {backend.port}")
        Session.connect(self, backend, greets, seconds)

    def backend_connected(self) -> None:
        self._recording.tell("the backend is connected")
        Session.backend_connected(self)

    def backend_tls_up(self) -> None:
        self._recording.tell("TLS with the backend")
        Session.backend_tls_up(self)

    def backend_broke(self, reason: str, word: str = "") -> None:
        self._recording.tell(f"the backend is gone: {reason}")
        Session.backend_broke(self, reason, word)

    def logged_in(self) -> None:
        self._recording.goes_to(self._machine.backend)
        self._recording.tell("logged in")
        self._recording.decide()
        Session.logged_in(self)

    def hold(self, seconds: float) -> None:
        self._recording.tell(f"held back for {seconds:.3f} s")
        Session.hold(self, seconds)

    def note(self, message: Message, fields: dict[str, object]) -> None:
        said: dict[str, Any] = {name: value for name, value in fields.items() if value != ""}
        self._recording.tell(f"{message.name} {' '.join(f'{name}={value!r}' for name, value in said.items())}")
        Session.note(self, message, fields)

    def refresh(self) -> None:
        self._recording.flush()
        Session.refresh(self)

    def end(self, ending: str) -> None:
        try:
            if not self._over:
                self._recording.end(f"the end: {ending}")
        finally:
            Session.end(self, ending)
