"""The part of a session between the password and the relay: the modules, the mail check, the backend's connection.

It begins what it is told to. What is known at once it returns; the rest is told to the session later (`events.py`).
"""

from collections.abc import Callable

from popular.pdm.chain import Decision
from popular.pdm.contract import Question
from popular.proxy.backend import OFF, Backend
from popular.proxy.session.backend_connection import BackendConnection
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.machine import NO_ANSWER, NO_CONNECTION, NO_HANDSHAKE
from popular.proxy.session.mailcheck import MailQuestion
from popular.proxy.session.runtime import VservRuntime


class Login:
    """One session's, from the first PASS on; there may be several attempts, one after the other."""

    __slots__ = ("_question", "_runtime", "backend")

    def __init__(self, runtime: VservRuntime) -> None:
        self._runtime = runtime
        self._question: MailQuestion | None = None
        self.backend: BackendConnection | None = None

    def ask(self, question: Question, decided: Callable[[Decision], None]) -> Decision | None:
        """The decision, or None: then `decided` is called later."""
        runtime = self._runtime
        hide_unknown = not runtime.rules.fallback
        if runtime.lookups.blocking:
            return runtime.lookups.ask_in_thread(question, hide_unknown, decided)
        return runtime.lookups.ask(question, hide_unknown)

    def check_mail(self, backend: Backend, mailbox: str, owner: SessionEvents) -> str:
        """Why the question cannot be put, or "": then the owner hears of the answer."""
        runtime = self._runtime
        try:
            self._question = MailQuestion(runtime.shop.loop, backend.address, runtime.checkport, mailbox, owner)
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def answered(self) -> None:
        """The mail check was."""
        self._question = None

    def connect(self, backend: Backend, greets: bool, header: bytes, owner: SessionEvents) -> str:
        """Why there is no connection, or "": then the owner hears of it. `header`: what is said first, in clear."""
        runtime = self._runtime
        # No `get`: where TLS was asked for and is not there, nothing may be said in clear.
        tls = None if backend.tls == OFF else runtime.backend_tls[backend.id]
        try:
            self.backend = BackendConnection(
                runtime.shop.loop, backend, owner, greets=greets, tls=tls, introduction=header
            )
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def missing(self) -> str:
        """What the backend has not done yet, see Machine.expired."""
        backend = self.backend
        if backend is None:
            return ""
        if not backend.connected:
            return NO_CONNECTION
        return NO_HANDSHAKE if backend.shaking_hands else NO_ANSWER

    def give_up_question(self) -> bool:
        """Its answer would be late. Whether there was one."""
        question, self._question = self._question, None
        if question is not None:
            question.close()
        return question is not None

    def leave_backend(self) -> None:
        """Closes its connection, if there is one, without a word."""
        if self.backend is not None:
            self.backend.close()
            self.backend = None

    def close(self) -> None:
        """The session is over."""
        self.give_up_question()
        self.leave_backend()
