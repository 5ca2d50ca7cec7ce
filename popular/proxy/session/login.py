"""The part of a session between the password and the relay: the modules, the mail check, the backend's connection.

It begins what it is told to, and takes the time of each step. What is known at once it returns; the rest is told to the
session later (`events.py`).
"""

import errno

from popular.net.channel import Channel
from popular.net.tlschannel import TlsChannel
from popular.pdm.chain import Decision
from popular.pdm.contract import PASSWORD, Question
from popular.protocol.lines import is_ok
from popular.protocol.replies import code_of, known_code
from popular.proxy.session.backend.backend_admission import BackendAdmission, BackendPlaces
from popular.proxy.session.backend.backend_connection import BackendConnection, Extras
from popular.proxy.session.backend.backend_login import without_secrets
from popular.proxy.session.backend.backend_race import RacingConnection
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import OURS, BackendFailure
from popular.proxy.session.backend.mail_race import MailRace
from popular.proxy.session.backend.mailcheck import CheckSocket
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.header_reader import local_end
from popular.proxy.session.machine.backend_side import NO_ANSWER, NO_CONNECTION, NO_HANDSHAKE
from popular.proxy.session.module_chain import LoopQuestion
from popular.proxy.session.question_queue import PendingQuestion
from popular.proxy.session.runtime import VservRuntime

_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""We have no descriptor, memory or port left."""


def failure_of(error: OSError) -> BackendFailure:
    """Why a connection cannot even be begun, and whether that is the backend's fault."""
    return BackendFailure(error.strerror or type(error).__name__, OURS if error.errno in _SCARCE else "")


def _known_of(line: bytes) -> str:
    """What of a backend's reply cannot be a password, which it may repeat in whatever it says: the status, and a code
    that we know. Its words, without the password, are in the lines of failures.
    """
    status = "+OK" if is_ok(line) else "-ERR" if line.startswith(b"-ERR") else ""
    code = known_code(code_of(line))
    return f"{status} [{code.value}]" if code is not None else status


class Login:
    """What one session has for its login: modules, mail check, backend. There may be several attempts, one by one.

    How long a step took the loop's clock tells, which is read once for each waking.
    """

    __slots__ = (
        "_admission",
        "_began",
        "_events",
        "_mail_check",
        "_open_question",
        "_runtime",
        "_sid",
        "_to",
        "_waits",
        "connection",
    )

    def __init__(self, runtime: VservRuntime, events: SessionEvents) -> None:
        """`events`: the session, which hears of what is not known at once."""
        self._runtime = runtime
        self._events = events
        self._sid = self._events.sid
        self._began = 0.0
        """When the step began whose time is taken: mail check, connect, or backend login."""
        self._open_question: PendingQuestion[Decision] | LoopQuestion | None = None
        """What the modules are asked, in a thread or waiting for one, or on the event loop."""
        self._mail_check: CheckSocket | MailRace | None = None
        self._admission: BackendAdmission | None = None
        """That by which this session has a place at its backend."""
        self._waits = False
        """It is counted among those who wait for that backend."""
        self._to: BackendRuntime | None = None
        """The backend that is connected to."""
        self.connection: BackendConnection | None = None

    # The modules

    def ask(self, question: Question) -> Decision | None:
        """The decision, or None: then the session hears of it."""
        runtime = self._runtime
        if "PASS" in runtime.context.log.options:
            self._show_attempt(question)
        # To the fallback backend only a password leads.
        hide_unknown = not runtime.rules.fallback or question.kind != PASSWORD
        if not runtime.modules.answers_later:
            return runtime.modules.ask(question, hide_unknown, self._sid)
        session = self._events
        asked = runtime.modules.ask_later(question, hide_unknown, self._sid, decided=session.decided)
        if not isinstance(asked, (PendingQuestion, LoopQuestion)):
            return asked
        self._open_question = asked
        return None

    def _show_attempt(self, question: Question) -> None:
        """Debug option PASS. Of what is no password only the kind is shown: a token opens more than a mailbox."""
        password = question.password.reveal().decode(errors="replace")
        shown = {"password": password} if question.kind == PASSWORD else {"kind": question.kind}
        self._debug("PASS", "attempt", namespace=question.namespace, user=question.user, **shown)

    def _drop_question(self) -> None:
        """The modules need not answer any more."""
        if self._open_question is not None:
            self._open_question.drop()
            self._open_question = None

    # A place at the backend

    def take_place(self, backend: BackendRuntime) -> BackendFailure | None:
        """Takes one at the backend, among the sessions that wait for it, unless this one has one."""
        if self._admission is None:
            admission = backend.admission
            assert admission is not None, "who serves counts who waits"
            full = admission.try_enter()
            if full is not None:
                return full
            self._admission = admission
            self._waits = True
        return None

    def leave_waiting(self) -> None:
        """The login is done, or given up."""
        if self._waits:
            self._waits = False
            assert self._admission is not None
            self._admission.leave()

    def release_place(self) -> None:
        """Gives back the place at the backend, if there is one: the connection is closed, or never was."""
        admission = self._admission
        if admission is not None:
            self._admission = None
            admission.places.give_back()

    # The mail check

    def check_mail(self, backend: BackendRuntime, mailbox: str) -> BackendFailure | None:
        """Puts the question, unless that fails: the session hears of the answer."""
        runtime, session = self._runtime, self._events
        self._began = runtime.context.clock.now
        if runtime.context.log.options:
            self._debug("NET", "asking_for_mail", backend=backend.id, address=backend.address, port=runtime.checkport)
        try:
            if backend.check_sockets is not None:
                self._mail_check = backend.check_sockets.ask(mailbox, session)
            else:
                at, port, source = backend.settings.addresses, runtime.checkport, backend.source
                self._mail_check = MailRace(
                    runtime.context.loop, at, port, mailbox=mailbox, owner=session, source=source
                )
        except OSError as error:
            self._time_check()
            return failure_of(error)
        return None

    def mail_checked(self) -> None:
        """The mail check has its answer, or needs none any more."""
        self._mail_check = None
        self._time_check()

    def give_up_answers(self) -> None:
        """What the modules or the mail check would say now would be late."""
        self._drop_question()
        if self._mail_check is not None:
            self._mail_check.give_up(self._events)
            self.mail_checked()

    def _time_check(self) -> None:
        runtime = self._runtime
        seconds = runtime.context.clock.now - self._began
        runtime.mail_check_durations.observe(seconds)
        if runtime.context.log.options:
            self._debug("NET", "asked_for_mail", seconds=round(seconds, 6))

    # The backend

    def connect(self, backend: BackendRuntime, greets: bool, header: bytes) -> BackendFailure | None:
        """Begins to connect, unless that fails: the session hears of it. `header`: what is said first, in clear."""
        runtime = self._runtime
        self._began = runtime.context.clock.now
        # No `get`: where TLS was asked for and is not there, nothing may be said in clear.
        tls = None if backend.in_clear else runtime.backend_tls[backend.id]
        extras = Extras(backend.settings, tls, header) if header or tls is not None else None
        if runtime.context.log.options:
            where = {"backend": backend.id, "host": backend.settings.host, "address": backend.address}
            self._debug("NET", "connecting", **where, port=backend.port)
        if backend.reach is None:
            connection = BackendConnection(runtime.context, self._events)
        else:
            connection = RacingConnection(runtime.context, self._events, backend.reach)
        try:
            connection.open(backend.settings, greets, extras)
        except OSError as error:
            failure = failure_of(error)
            self.lost(failure.reason)
            return failure
        self.connection = connection
        self._to = backend
        return None

    def connected(self) -> None:
        """The connection stands; from here on the login is timed."""
        runtime, to = self._runtime, self._to
        now = runtime.context.clock.now
        assert to is not None
        assert to.connect_durations is not None
        to.connect_durations.observe(now - self._began)
        if runtime.context.log.options:
            assert self.connection is not None
            host, port = local_end(self.connection.channel.connection) or ("", 0)
            seconds = round(now - self._began, 6)
            self._debug("NET", "connected", backend=to.id, local=host, local_port=port, seconds=seconds)
            self.show_tls()
        self._began = now

    def show_tls(self) -> None:
        """Logs what was agreed on in TLS with the backend, if it has TLS (debug option TLS), and does nothing else."""
        assert self.connection is not None
        channel = self.connection.channel
        if isinstance(channel, TlsChannel):
            about = channel.about
            cipher, resumed = (about.cipher() or ("",))[0], about.session_reused
            version = about.version() or ""
            self._debug("TLS", "backend_handshake", version=version, cipher=cipher, resumed=str(bool(resumed)))

    def hand_over(self) -> tuple[Channel, BackendPlaces]:
        """The backend did: the connection to it, to be relayed, and the places of which the session has one, which is
        to be given back. With that the login is over, and can be forgotten.
        """
        to = self._to
        assert to is not None
        assert to.login_durations is not None
        to.login_durations.observe(self._runtime.context.clock.now - self._began)
        if to.announced is not None:
            to.announced.note_login()
        assert self.connection is not None
        assert self._admission is not None
        return self.connection.channel, self._admission.places

    def send(self, data: bytes) -> BackendFailure | None:
        """A line of the login."""
        assert self.connection is not None
        if self._runtime.context.log.options:
            self._show_said(data)
        reason = self.connection.send(data)
        if not reason:
            return None
        self.lost(reason)
        return BackendFailure(reason, "")

    def show_heard(self, data: bytes) -> None:
        """Logs what the backend says before it is joined with the client (debug option POP), and does nothing else."""
        options = self._runtime.context.log.options
        if options:
            line, _, rest = data.partition(b"\r\n")
            shown = line.decode(errors="replace") if "PASS" in options else _known_of(line)
            self._debug("POP", "backend", line=shown, octets=len(line), more=len(rest))

    def _show_said(self, data: bytes) -> None:
        """What the backend is told (debug option POP); secrets only with PASS, and XPOP has none."""
        assert self.connection is not None
        hides = self.connection.greets and "PASS" not in self._runtime.context.log.options
        for line in data.splitlines():
            self._debug("POP", "proxy", line=without_secrets(line) if hides else line.decode(errors="replace"))

    def start_tls(self) -> BackendFailure | None:
        """Begins TLS with the backend, unless that fails: the session hears of it."""
        assert self.connection is not None
        reason = self.connection.start_tls()
        if not reason:
            return None
        self.lost(reason)
        return BackendFailure(reason, "tls")

    def lost(self, reason: str) -> None:
        """There is no connection to the backend any more, or never was."""
        self._debug("NET", "backend_lost", reason=reason)
        self.connection = None

    def missing(self) -> str:
        """What the backend has not done yet, see Machine.expired."""
        backend = self.connection
        if backend is None:
            return ""
        if not backend.connected:
            return NO_CONNECTION
        return NO_HANDSHAKE if backend.shaking_hands else NO_ANSWER

    def leave_backend(self) -> None:
        """Closes its connection, if there is one, without a word."""
        if self.connection is not None:
            if self._runtime.context.log.options:
                self._debug("NET", "backend_left")
            self.connection.close()
            self.connection = None
        self.leave_waiting()
        self.release_place()

    def close(self) -> None:
        """Nothing is waited for any more."""
        if self._open_question is not None:
            self._drop_question()
        if self._mail_check is not None:
            self._mail_check.give_up(self._events)
            self._mail_check = None
        self.leave_backend()

    def _debug(self, option: str, name: str, **fields: object) -> None:
        log = self._runtime.context.log
        if log.options:
            log.debug(option, name, self._sid, **fields)
