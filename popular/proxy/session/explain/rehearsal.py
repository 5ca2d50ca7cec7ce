"""A session that is only played: its machine decides as it would, and nobody is connected, asked or told. Pure.

What a client would hear is what the machine says here: `explain` predicts by it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from popular.pdm.contract import Question
from popular.pdm.decision import Decision
from popular.protocol.mailcheck import Mail
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.explain.dialogues import DIALOGUES, DISMISSED, Lines
from popular.proxy.session.limits.contracts import LoginLimits
from popular.proxy.session.limits.login_orders import NO_ORDERS, AskedLogin, LoginOrders
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.machine.verbs import Verbs
from popular.proxy.session.rules import Rules
from popular.proxy.session.who import PollMemory
from popular.proxy.settings.backend import Backend
from supervisor.runtime.messages import Message

TLS, ASK, DECIDE, HOLD, CHECK_MAIL, CONNECT = (
    "start_tls",
    "ask",
    "take_as_decided",
    "hold",
    "check_mail",
    "connect",
)
REPLY, BACKEND_TLS, RELAY = "reply", "start_backend_tls", "relay"
"""What a session may wait for: the words of PlayedVerbs.waits."""
_GOOD = b"+OK [XCLIENT]\r\n"
"""What a backend answers to everything; it offers XCLIENT too, for the backends that are told whose session it is."""
_MOST_STEPS = 12
"""More than any login at a backend has."""


class PlayedVerbs(Verbs):
    """The verbs of a session that is only played: they do nothing but keep what was said and what is waited for."""

    def __init__(self, sid: str, *, blocked: bool) -> None:
        """`blocked`: the client's network is."""
        self.sid = sid
        self.row_number = -1
        self._blocked = blocked
        self.said = b""
        self.waits = ""
        """One of the words above, or "" for nothing."""
        self.question: Question | None = None
        self.decision: Decision | None = None
        """What is known without the modules."""
        self.backend: Backend | None = None
        self.greets = False
        """Whether the backend speaks first."""
        self.ending = ""
        self.held = 0.0
        """For how many seconds the client would be held back."""

    def is_blocked(self, address: str) -> bool:
        del address
        return self._blocked

    def send(self, data: bytes) -> None:
        self.said += data

    def yield_turn(self) -> None: ...

    def start_tls(self, seconds: float) -> None:
        del seconds
        self.waits = TLS

    def await_header(self, seconds: float) -> None:
        del seconds
        raise AssertionError("no PROXY header is expected here")

    def ask(self, question: Question, seconds: float) -> None:
        del seconds
        self.waits, self.question = ASK, question

    def take_as_decided(self, decision: Decision) -> None:
        self.waits, self.decision = DECIDE, decision

    def check_mail(self, backend: BackendRuntime, mailbox: str, seconds: float) -> None:
        del mailbox, seconds
        self.waits, self.backend = CHECK_MAIL, backend.settings

    def connect(self, backend: BackendRuntime, greets: bool, seconds: float) -> None:
        del seconds
        self.waits, self.backend, self.greets = CONNECT, backend.settings, greets

    def expect(self, seconds: float) -> None: ...

    def hold(self, seconds: float, at_least: float = 0.0) -> None:
        del at_least
        self.waits = HOLD
        self.held += seconds

    def await_release(self, asking: AskedLogin, seconds: float) -> None:
        del asking
        self.hold(seconds)

    def send_backend(self, data: bytes) -> None:
        del data
        self.waits = REPLY

    def start_backend_tls(self) -> None:
        self.waits = BACKEND_TLS

    def leave_backend(self) -> None:
        self.waits = ""

    def logged_in(self) -> None: ...

    def relay(self, to_client: bytes, to_backend: bytes) -> None:
        del to_client, to_backend
        self.waits = RELAY

    def note(self, message: Message, fields: dict[str, object]) -> None: ...

    def count(self, counter: str, label: str | None, ident: str) -> None: ...

    def finish(self, ending: str, seconds: float) -> None:
        del seconds
        self.waits, self.ending = "", ending


class Rehearsal:
    """One session, with a client that says STLS where it must, and then what its mechanism wants.

    `replies`: what the client has heard, by the word that it had said; `""` is the greeting.
    """

    def __init__(
        self,
        rules: Rules,
        client: tuple[str, int],
        verbs: PlayedVerbs,
        *,
        backends: dict[str, BackendRuntime],
        limits: LoginLimits,
        orders: LoginOrders = NO_ORDERS,
        polls: PollMemory | None = None,
    ) -> None:
        self.verbs = verbs
        self._rules = replace(rules, trusted=None)
        around = Surroundings(self._rules, backends, limits=limits, orders=orders, polls=polls)
        self.machine = Machine(verbs, around, client)
        self.replies: dict[str, str] = {}
        self._word = ""
        """What the client has said last."""
        self._lines: Lines | None = None
        """What it has to say yet."""

    def log_in(self, mechanism: str, user: bytes, secret: bytes) -> None:
        """Plays the login up to the question to the modules; where it comes so far, `verbs.waits` is ASK."""
        dialogue = DIALOGUES[mechanism]
        name = user.decode("utf-8", "replace") if dialogue.certified else ""
        self._hear(self.machine.begin)
        greeting = self.reply.encode()
        if self.verbs.waits == TLS:
            self._shake_hands(name)
            greeting = self.reply.encode()
        starttls = self._rules.starttls
        if (starttls == "force" or (starttls != "off" and dialogue.in_tls)) and not self.verbs.ending:
            self._say(b"STLS")
            self._shake_hands(name)
        self._lines = dialogue.speak(user, secret, greeting)
        line = next(self._lines)
        if not self.verbs.ending:
            self._say(line)
            self._speak_on()

    def _speak_on(self) -> None:
        """What else the client has to say, as far as it is answered so that it may go on."""
        assert self._lines is not None, "it has begun"
        while not self.verbs.ending and not self.verbs.waits and self.reply.startswith("+"):
            try:
                line = self._lines.send(self.reply.encode())
            except StopIteration:
                return
            self._say(line)

    def in_clear(self, mechanism: str, user: bytes) -> str:
        """What a client hears that does not say STLS, and begins to log in at once."""
        self._hear(self.machine.begin)
        self._say(next(DIALOGUES[mechanism].speak(user, b"x", self.reply.encode())))
        return self.reply

    @property
    def reply(self) -> str:
        """The last thing that the client has heard; "" if nothing was said to it."""
        return list(self.replies.values())[-1] if self.replies else ""

    def decided(self, decision: Decision) -> None:
        """The modules have answered; a client that has something to prove does. One that is told in a challenge why its
        token is no good answers to that.
        """
        self._end_wait(lambda: self.machine.decided(decision))
        self._speak_on()
        if self.verbs.waits == DECIDE:
            assert self.verbs.decision is not None
            self._end_wait(partial(self.machine.decided, self.verbs.decision))
        elif not self.verbs.waits and self.reply.startswith("+ "):
            self._say(DISMISSED)

    def no_mail(self) -> None:
        """The mail check was answered: there is none."""
        self._end_wait(lambda: self.machine.checked(Mail.NONE, ""))

    def mail(self) -> None:
        """The mail check finds some, or is not answered: the backend is asked either way."""
        self._end_wait(lambda: self.machine.checked(None, ""))

    def fails(self, reason: str, word: str) -> None:
        """The backend cannot be reached, or breaks off; see Machine.backend_failed."""
        self._end_wait(lambda: self.machine.backend_failed(reason, word))

    def lets_in(self) -> None:
        """The backend lets him in, in however many steps; `verbs.waits` is RELAY then, if nothing hinders him."""
        for _ in range(_MOST_STEPS):
            waits, self.verbs.waits = self.verbs.waits, ""
            if waits == CONNECT and not self.verbs.greets:
                self._hear(self.machine.connected)
            elif waits == BACKEND_TLS:
                self._hear(self.machine.backend_tls_up)
            elif waits in (CONNECT, REPLY):
                self._hear(lambda: self.machine.backend_says(_GOOD))
            else:
                self.verbs.waits = waits
                return

    def _end_wait(self, entry: Callable[[], None]) -> None:
        self.verbs.waits = ""
        self._hear(entry)

    def _shake_hands(self, certificate_name: str) -> None:
        self._end_wait(lambda: self.machine.tls_up(certificate_name))

    def _say(self, line: bytes) -> None:
        word = line.partition(b" ")[0].decode()
        self._word = word if word.isalpha() and word.isupper() else self._word
        self._hear(lambda: self.machine.client_says(line + b"\r\n"))

    def _hear(self, entry: Callable[[], None]) -> None:
        self.verbs.said = b""
        entry()
        while self.verbs.waits == HOLD:
            self.verbs.waits = ""
            self.machine.expired("step", "")
        if self.verbs.said:
            self.replies[self._word] = self.verbs.said.partition(b"\r\n")[0].decode("utf-8", "replace")
