"""The part of a session between the password and the relay: the modules, the mail check, the backend's connection.

It begins what it is told to, and takes the time of each step. What is known at once it returns; the rest is told to the
session later (`events.py`).
"""

from collections.abc import Callable

from popular.pdm.chain import Decision
from popular.pdm.contract import Question
from popular.proxy.session.backend_connection import BackendConnection
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.machine import NO_ANSWER, NO_CONNECTION, NO_HANDSHAKE
from popular.proxy.session.mailcheck import MailQuestion
from popular.proxy.session.runtime import VservRuntime
from popular.proxy.settings.backend import OFF, Backend


class Login:
    """One session's; there may be several attempts, one after the other.

    How long a step took the loop's clock tells, which is read once for each waking.
    """

    __slots__ = ("_began", "_question", "_runtime", "backend")

    def __init__(self, runtime: VservRuntime) -> None:
        self._runtime = runtime
        self._began = 0.0
        """When the step began whose time is taken: mail check, connect, or backend login."""
        self._question: MailQuestion | None = None
        self.backend: BackendConnection | None = None

    # The modules

    def ask(self, question: Question, decided: Callable[[Decision], None]) -> Decision | None:
        """The decision, or None: then `decided` is called later."""
        runtime = self._runtime
        hide_unknown = not runtime.rules.fallback
        if runtime.modules.blocking:
            return runtime.modules.ask_in_thread(question, hide_unknown, decided)
        return runtime.modules.ask(question, hide_unknown)

    # The mail check

    def check_mail(self, backend: Backend, mailbox: str, events: SessionEvents) -> str:
        """Why the question cannot be put, or "": then it is told of the answer."""
        runtime = self._runtime
        self._began = runtime.context.clock.now
        try:
            self._question = MailQuestion(runtime.context.loop, backend.address, runtime.checkport, mailbox, events)
        except OSError as error:
            self._time_check()
            return error.strerror or type(error).__name__
        return ""

    def answered(self) -> None:
        """The mail check was."""
        self._question = None
        self._time_check()

    def give_up_question(self) -> None:
        """The answer would be late, if there is a question."""
        if self._question is not None:
            self._question.close()
            self.answered()

    def _time_check(self) -> None:
        runtime = self._runtime
        runtime.counters.observe("mail_check_duration", runtime.context.clock.now - self._began)

    # The backend

    def connect(self, backend: Backend, greets: bool, header: bytes, events: SessionEvents) -> str:
        """Why there is no connection, or "": then it is told of it. `header`: what is said first, in clear."""
        runtime = self._runtime
        self._began = runtime.context.clock.now
        # No `get`: where TLS was asked for and is not there, nothing may be said in clear.
        tls = None if backend.tls == OFF else runtime.backend_tls[backend.id]
        try:
            self.backend = BackendConnection(
                runtime.context.loop, backend, events, greets=greets, tls=tls, introduction=header
            )
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def connected(self, backend: str) -> None:
        """The connection stands; from here on the login is timed."""
        runtime = self._runtime
        now = runtime.context.clock.now
        runtime.backend_connects[backend].count(now - self._began)
        self._began = now

    def let_in(self, backend: str) -> BackendConnection:
        """The backend did: its connection, to be relayed."""
        runtime = self._runtime
        runtime.backend_logins[backend].count(runtime.context.clock.now - self._began)
        assert self.backend is not None
        return self.backend

    def send(self, data: bytes) -> str:
        """Why the backend cannot be told, or ""."""
        assert self.backend is not None
        reason = self.backend.send(data)
        if reason:
            self.backend = None
        return reason

    def start_tls(self) -> str:
        """Why there is no TLS with the backend, or "": then it is told of it."""
        assert self.backend is not None
        reason = self.backend.start_tls()
        if reason:
            self.backend = None
        return reason

    def missing(self) -> str:
        """What the backend has not done yet, see Machine.expired."""
        backend = self.backend
        if backend is None:
            return ""
        if not backend.connected:
            return NO_CONNECTION
        return NO_HANDSHAKE if backend.shaking_hands else NO_ANSWER

    def leave_backend(self) -> None:
        """Closes its connection, if there is one, without a word."""
        if self.backend is not None:
            self.backend.close()
            self.backend = None

    def keep_alive(self) -> None:
        """A connection that lasts is kept alive."""
        if self.backend is not None:
            self.backend.keep_alive()

    def close(self) -> None:
        """Nothing is waited for any more."""
        if self._question is not None:
            self._question.close()
            self._question = None
        self.leave_backend()
