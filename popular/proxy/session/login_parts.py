"""What a session has for its login, and lets go of at the relay: a question to the modules, a mail check, a place at a
backend and the connection to it.

The session puts questions and connects (session.py); here each thing is given up, the mail check is asked and timed,
and it is known what a login still waits for.
"""

from popular.pdm.decision import Decision
from popular.proxy.session.backend.backend_admission import BackendAdmission
from popular.proxy.session.backend.backend_connection import BackendConnection
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import BackendFailure, failure_of
from popular.proxy.session.backend.mail_race import MailRace
from popular.proxy.session.backend.mailcheck import CheckSocket
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.machine.failed_logins import NO_ANSWER, NO_CONNECTION, NO_HANDSHAKE, NO_TIME
from popular.proxy.session.shared.module_chain import LoopQuestion
from popular.proxy.session.shared.question_queue import PendingQuestion
from popular.proxy.session.shared.runtime import VservRuntime


class LoginParts:
    """What one session has open for its login. There may be several attempts, one by one.

    How long a step took the loop's clock tells, which is read once for each waking.
    """

    __slots__ = (
        "_events",
        "_mail_check",
        "_runtime",
        "_sid",
        "_waits",
        "admission",
        "backend",
        "began",
        "connection",
        "question",
    )

    def __init__(self, runtime: VservRuntime, events: SessionEvents) -> None:
        """`events`: the session, which hears of the mail check."""
        self._runtime = runtime
        self._events = events
        self._sid = self._events.sid
        self.began = 0.0
        """When the step began whose time is taken: mail check, connect, or backend login."""
        self.question: PendingQuestion[Decision] | LoopQuestion | None = None
        """What the modules are asked, in a thread or waiting for one, or on the event loop."""
        self._mail_check: CheckSocket | MailRace | None = None
        self.admission: BackendAdmission | None = None
        """Who admits to the backend at which this session has a place; None where it has none."""
        self._waits = False
        """It is counted among those who wait for that backend."""
        self.backend: BackendRuntime | None = None
        """The one that is connected to."""
        self.connection: BackendConnection | None = None

    # The modules

    def drop_question(self) -> None:
        """The modules need not answer any more."""
        if self.question is not None:
            self.question.drop()
            self.question = None

    # A place at the backend

    def take_place(self, backend: BackendRuntime) -> BackendFailure | None:
        """Takes one at the backend, among the sessions that wait for it, unless this one has one."""
        if self.admission is None:
            admission = backend.admission
            assert admission is not None, "who serves counts who waits"
            full = admission.try_admit()
            if full is not None:
                return full
            self.admission = admission
            self._waits = True
        return None

    def leave_waiting(self) -> None:
        """The login is done, or given up."""
        if self._waits:
            self._waits = False
            assert self.admission is not None
            self.admission.end_waiting()

    def release_place(self) -> None:
        """Gives back the place at the backend, if there is one: the connection is closed, or never was."""
        admission = self.admission
        if admission is not None:
            self.admission = None
            admission.places.give_back()

    # The mail check

    def check_mail(self, backend: BackendRuntime, mailbox: str) -> BackendFailure | None:
        """Puts the question, unless that fails: the session hears of the answer."""
        runtime, session = self._runtime, self._events
        self.began = runtime.context.clock.now
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

    def _time_check(self) -> None:
        runtime = self._runtime
        seconds = runtime.context.clock.now - self.began
        runtime.mail_check_durations.observe(seconds)
        if runtime.context.log.options:
            self._debug("NET", "asked_for_mail", seconds=round(seconds, 6))

    # What is waited for, and given up

    def missing(self, what: str) -> str:
        """What the backend has not done yet, see Machine.expired. `what`: the deadline that has passed. For that of the
        whole login the backend answers only where half of the time was its own.
        """
        connection, runtime = self.connection, self._runtime
        if connection is None:
            return ""
        if what == "auth" and runtime.context.clock.now - self.began < runtime.authtimeout / 2:
            return NO_TIME
        if not connection.connected:
            return NO_CONNECTION
        return NO_HANDSHAKE if connection.shaking_hands else NO_ANSWER

    def give_up_answers(self) -> None:
        """What the modules or the mail check would say now would be late."""
        self.drop_question()
        if self._mail_check is not None:
            self._mail_check.give_up(self._events)
            self.mail_checked()

    def lost(self, reason: str) -> None:
        """There is no connection to the backend any more, or never was."""
        self._debug("NET", "backend_lost", reason=reason)
        self.connection = None

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
        if self.question is not None:
            self.drop_question()
        if self._mail_check is not None:
            self._mail_check.give_up(self._events)
            self._mail_check = None
        self.leave_backend()

    def _debug(self, option: str, name: str, **fields: object) -> None:
        log = self._runtime.context.log
        if log.options:
            log.debug(option, name, self._sid, **fields)
