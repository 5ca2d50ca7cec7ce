"""The proxy session as a machine: bytes and facts in, actions out. No socket, clock, log or file in here.

    client_says, client_eof      what the client sent, or that it will send nothing more
    decided, checked             what the modules, and the mail check, have answered
    connected, backend_says, backend_failed      how it goes with the backend
    tls_up                       the handshake is done

Each returns the actions to be done, in order (actions.py). When the backend has let the user in, the last action is
Relay, and from then on the bytes do not pass through here.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from popular import messages
from popular.pdm.chain import Admitted, CannotTell, Decision, NobodyKnows
from popular.pdm.contract import Question, Route, Secret
from popular.phrased import Phrased
from popular.protocol import replies, xpop
from popular.protocol.commands import VERBS, State, parse
from popular.protocol.lines import LineBuffer, LineTooLong, NullByte
from popular.protocol.mailcheck import Mail
from popular.protocol.replies import Code
from popular.protocol.transaction import Transaction
from popular.proxy import actions
from popular.proxy.actions import Action
from popular.proxy.backend import Backend
from popular.proxy.backend_login import BackendLogin, Broken, Joined, Pop3Login, Progress, Rejected, XpopLogin
from popular.proxy.vserv import POP3S

MOST_FAILED_LOGINS = 3
MOST_ERRORS = 10
"""Faulty commands before login."""

_BAD_LOGIN = "the user name or the password is wrong"
_TRY_LATER = "the mailbox cannot be reached at the moment, please try again later"

PASSED_ON = {code.value.encode(): code for code in Code}
"""A backend's response codes that the client is told in our own words."""

_OWN_WORDS = {
    Code.AUTH: _BAD_LOGIN,
    Code.IN_USE: "the mailbox is in use by another session",
    Code.LOGIN_DELAY: "the mailbox was asked too soon after the last time",
    Code.SYS_TEMP: _TRY_LATER,
    Code.SYS_PERM: "the mailbox cannot be opened, please ask your postmaster",
}


class Phase(Phrased):
    """What a session is doing. The number stands in its row, the phrase completes "… while ___"."""

    GREETED = 1, "waiting for a user name"
    NAMED = 2, "waiting for a password"
    STARTING_TLS = 3, "starting TLS"
    ASKING = 4, "asking the modules"
    CHECKING = 5, "checking the mailbox"
    CONNECTING = 6, "connecting to the backend"
    LOGGING_IN = 7, "logging in to the backend"
    SIMULATING = 8, "showing an empty mailbox"
    RELAYING = 9, "passing mail on"
    ENDED = 10, "ending"


GREETED, NAMED, STARTING_TLS, ASKING, CHECKING, CONNECTING, LOGGING_IN, SIMULATING, RELAYING, ENDED = Phase
# Names of the module, because a member of an enum is ten times as far away, and a session asks for two dozen.

STATES = ("free", *(phase.phrase for phase in Phase))
"""For the table: index 0 is a row without a session."""

_LISTENING = (GREETED, NAMED, SIMULATING)
"""Phases in which a line of the client is answered at once; in all others it waits.

A tuple: to look into a set costs a call, because enums compute their hash in Python.
"""

_COMMANDS = {verb.keyword.encode(): verb for verb in VERBS.values() if State.AUTHORIZATION in verb.states}

_SEND_PASS = actions.Send(replies.ok("send PASS"))
_LOGGED_IN = actions.LoggedIn()
_COUNT_LOGIN = actions.Count("logins")
_LEAVE_BACKEND = actions.LeaveBackend()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a config says about the sessions of one virtual server. Made once for each config."""

    vserv: str
    state: str
    protocol: str
    namespace: str
    defaultns: str
    starttls: str
    greeting: bytes
    refusal: bytes
    capa_clear: bytes
    capa_tls: bytes
    capa_after: tuple[str, ...]
    backends: Mapping[str, Backend]
    fallback: str
    softfail: bool


class Machine:
    """One session.

    `phase`, `user`, `namespace`, `backend` and `target` may be looked at; nobody but the machine sets them.
    """

    __slots__ = (
        "_eof",
        "_errors",
        "_failures",
        "_login",
        "_peer_ip",
        "_route",
        "_rules",
        "_secret",
        "_sid",
        "_tls",
        "_transaction",
        "backend",
        "lines",
        "namespace",
        "phase",
        "target",
        "user",
    )

    def __init__(self, rules: Rules, peer_ip: str, sid: str, tls: bool = False) -> None:
        self._rules = rules
        self._peer_ip = peer_ip
        self._sid = sid
        self._tls = tls
        self.lines = LineBuffer()
        """What the client has sent and was not yet answered."""
        self._failures = 0
        self._errors = 0
        self._eof = False
        self._secret: Secret | None = None
        self._route: Route | None = None
        self._login: BackendLogin | None = None
        self._transaction: Transaction | None = None
        self.phase = GREETED
        self.user = ""
        self.namespace = ""
        self.backend = ""
        self.target = ""

    # The client

    def begin(self) -> list[Action]:
        """The connection is there (and TLS, if it comes first)."""
        if self._rules.protocol == POP3S and not self._tls:
            self.phase = STARTING_TLS
            return [actions.StartTls()]
        if self._rules.state == "disabled":
            return [actions.Send(self._rules.refusal), self._end("vserv_disabled")]
        return [actions.Send(self._rules.greeting)]

    def client_says(self, data: bytes) -> list[Action]:
        """The client sent this."""
        self.lines.feed(data)
        return self._go_on()

    def client_eof(self) -> list[Action]:
        """The client will send nothing more. What it sent before is still answered."""
        self._eof = True
        return self._go_on()

    def _go_on(self) -> list[Action]:
        """Answers the lines that are there, as far as the phase allows."""
        todo: list[Action] = []
        lines = self.lines
        while lines.held and self.phase in _LISTENING:
            try:
                line = lines.next_line()
            except NullByte:
                todo += (self.null_byte(), self._end("null_byte"))
                break
            except LineTooLong:
                todo += (actions.Send(replies.err("the line is too long")), self._end("line_too_long"))
                break
            if line is None:
                break
            said = self._command(line) if self._transaction is None else self._simulated(line)
            todo = todo + said if todo else said
        if self._eof and self.phase in _LISTENING:
            todo.append(self._end("client_closed"))
        return todo if len(todo) < 2 else _in_one_piece(todo)

    def null_byte(self) -> actions.Note:
        """What the log says of a NUL octet, also of one that the relay found."""
        return actions.Note(messages.NULL_BYTE_IN_INPUT, {"phase": self.phase.phrase})

    def _simulated(self, line: bytes) -> list[Action]:
        assert self._transaction is not None
        answer = self._transaction.command(line)
        if answer.over:
            return [actions.Send(answer.reply or replies.ok("bye")), self._end("quit")]
        return [actions.Send(answer.reply)]

    def _command(self, line: bytes) -> list[Action]:
        """A command in the AUTHORIZATION state."""
        keyword, _, argument = line.partition(b" ")
        verb = _COMMANDS.get(keyword.upper())
        if verb is None:
            return self._not_here(parse(line).keyword)
        if bool(argument.strip()) != bool(verb.fewest):
            return self._error(f"{verb.keyword} takes {'an' if verb.fewest else 'no'} argument")
        match verb.keyword:
            case "USER":
                return self._name(argument)
            case "PASS":
                return self._password(argument)
            case "CAPA":
                return [actions.Send(self._rules.capa_tls if self._tls else self._rules.capa_clear)]
            case "STLS":
                return self._stls()
            case _:
                return [actions.Send(replies.ok("bye")), self._end("quit")]

    def _not_here(self, keyword: str) -> list[Action]:
        return self._error(f"{keyword} is for after the login" if keyword in VERBS else "unknown command")

    def _error(self, text: str) -> list[Action]:
        self._errors += 1
        if self._errors > MOST_ERRORS:
            return [actions.Send(replies.err("too many faulty commands")), self._end("too_many_errors")]
        return [actions.Send(replies.err(text))]

    def _needs_tls(self) -> bool:
        return self._rules.starttls == "force" and not self._tls

    def _name(self, argument: bytes) -> list[Action]:
        if self._needs_tls():
            return self._error("say STLS first, a password must not travel in clear")
        try:
            name = argument.decode("utf-8")
        except UnicodeDecodeError:
            return self._error("the user name is not UTF-8")
        if not name.isprintable():
            return self._error("the user name has control characters")
        self.user, self.namespace = self._split_namespace(name)
        self.phase = NAMED
        return [_SEND_PASS]

    def _split_namespace(self, name: str) -> tuple[str, str]:
        """`name=namespace` only under the namespace USER; otherwise the client has no say in it."""
        if self._rules.namespace != "USER":
            return name, self._rules.namespace
        user, equals, namespace = name.rpartition("=")
        return (user, namespace or self._rules.defaultns) if equals else (name, self._rules.defaultns)

    def _password(self, argument: bytes) -> list[Action]:
        if self._needs_tls():
            return self._error("say STLS first, a password must not travel in clear")
        if self.phase is not NAMED:
            return self._error("say USER first")
        if self._rules.state == "fake":
            return self._simulate()
        self._secret = Secret(argument)
        self.phase = ASKING
        rules = self._rules
        protocol = rules.protocol
        return [actions.Ask(Question(self._peer_ip, protocol, self.namespace, self.user, self._secret, rules.vserv))]

    def _stls(self) -> list[Action]:
        if self._tls:
            return self._error("TLS is already there")
        if self._rules.starttls == "off":
            return self._error("STLS is not offered here")
        if len(self.lines):
            # Typed in clear, but to be believed as if it came inside TLS: the classic injection (RFC 2595 section 4).
            return [self._end("plaintext_after_stls")]
        self.phase = STARTING_TLS
        return [actions.Send(replies.ok("begin TLS")), actions.StartTls()]

    def tls_up(self) -> list[Action]:
        """TLS stands. All that was learned before is forgotten (RFC 2595 section 4)."""
        if len(self.lines):
            return [self._end("plaintext_after_stls")]
        self._tls = True
        self.user = self.namespace = ""
        self.phase = GREETED
        return self.begin() if self._rules.protocol == POP3S else []

    # The modules

    def decided(self, decision: Decision) -> list[Action]:
        """What the modules made of the user name and the password."""
        if self.phase is not ASKING:
            return []
        if isinstance(decision, Admitted):
            return self._follow(decision.route)
        if isinstance(decision, NobodyKnows) and self._rules.fallback:
            return self._follow(Route(self._rules.fallback), fallback=True)
        if isinstance(decision, CannotTell):
            note = actions.Note(messages.MODULE_FAILED, {"user": self.user, "reason": decision.reason})
            return [note, actions.Count("login_failures", "module"), *self._trouble("module_failed")]
        return self._wrong_login("unknown" if isinstance(decision, NobodyKnows) else "password")

    def _wrong_login(self, why: str, code: Code = Code.AUTH) -> list[Action]:
        """The same words and the same code for every reason, so that nobody learns which users exist."""
        self._failures += 1
        self._secret = None
        note = actions.Note(
            messages.LOGIN_FAILED,
            {
                "client": self._peer_ip,
                "vserv": self._rules.vserv,
                "namespace": self.namespace,
                "user": self.user,
                "why": why,
            },
        )
        todo: list[Action] = [note, actions.Count("login_failures", why)]
        todo.append(actions.Send(replies.err(_OWN_WORDS[code], code)))
        if self._failures >= MOST_FAILED_LOGINS:
            return [*todo, self._end("too_many_failures")]
        self.phase = GREETED
        return _in_one_piece(todo + self._go_on())

    def _trouble(self, ending: str) -> list[Action]:
        """Not the client's fault.

        An empty mailbox would make clients forget what they have seen, so it is shown only on demand.
        """
        if self._rules.softfail:
            return [_LEAVE_BACKEND, *self._simulate()]
        return [actions.Send(replies.err(_TRY_LATER, Code.SYS_TEMP)), self._end(ending)]

    # The mailbox

    def _follow(self, route: Route, fallback: bool = False) -> list[Action]:
        """The user may come in: where is the mailbox, and is there anything in it?"""
        backend = self._rules.backends.get(route.backend)
        self.backend, self.target = route.backend, route.target or self.user
        if backend is None:
            return [
                actions.Note(messages.NO_BACKEND, {"backend": route.backend, "user": self.user}),
                *self._trouble("no_backend"),
            ]
        if backend.state == "offline":
            return [actions.Send(replies.err(_TRY_LATER, Code.SYS_TEMP)), self._end("backend_offline")]
        if backend.state == "fake":
            return self._simulate()
        self._route = route
        if backend.prot == "POP3" or fallback:
            return self._log_in(route, backend)
        return self._open_mailbox(route, backend)

    def _log_in(self, route: Route, backend: Backend) -> list[Action]:
        assert self._secret is not None
        secret = route.secret or self._secret
        try:
            self._login = Pop3Login(self.target.encode(), secret.reveal())
        except ValueError:
            return self._wrong_login("password")
        return self._connect(backend)

    def _open_mailbox(self, route: Route, backend: Backend) -> list[Action]:
        try:
            self._login = XpopLogin(self.target, self._sid, route.flags)
        except xpop.BadMailboxName as error:
            note = actions.Note(messages.BAD_MAILBOX, {"user": self.user, "mailbox": self.target, "reason": str(error)})
            return [note, *self._wrong_login("unknown")]
        if backend.prot == "CXPOP":
            self.phase = CHECKING
            return [actions.CheckMail(backend, self.target)]
        return self._connect(backend)

    def checked(self, mail: Mail | None) -> list[Action]:
        """What the mail check found; None if it was not answered properly or in time."""
        if self.phase is not CHECKING:
            return []
        if mail in (Mail.NONE, Mail.LOAD_TOO_HIGH):
            return [actions.Count("mail_checks", "empty" if mail is Mail.NONE else "load"), *self._simulate()]
        found = actions.Count("mail_checks", "unanswered" if mail is None else "mail")
        return [found, *self._connect(self._rules.backends[self.backend])]

    def _simulate(self) -> list[Action]:
        """The client goes on with us, in a mailbox without mail."""
        self._transaction = Transaction((), self._rules.capa_after)
        self._secret = None
        self.phase = SIMULATING
        reply = actions.Send(self._transaction.welcome())
        return [_LOGGED_IN, actions.Count("simulated"), *_in_one_piece([reply, *self._go_on()])]

    # The backend

    def _connect(self, backend: Backend) -> list[Action]:
        assert self._login is not None
        self.phase = CONNECTING
        return [actions.Connect(backend, self._login.greets)]

    def connected(self) -> list[Action]:
        """The connection to a backend that does not greet stands."""
        assert self._login is not None
        self.phase = LOGGING_IN
        return [actions.SendBackend(self._login.opening())]

    def backend_says(self, data: bytes) -> list[Action]:
        """The backend sent this, before the two are joined. Its greeting tells that the connection stands."""
        assert self._login is not None
        self.phase = LOGGING_IN
        progress: Progress = self._login.hear(data)
        if isinstance(progress, actions.SendBackend):
            return [progress]
        if isinstance(progress, Joined):
            return self._join(progress.reply, progress.rest)
        if isinstance(progress, Rejected):
            return self._rejected(progress)
        if isinstance(progress, Broken):
            return self.backend_failed(progress.reason)
        return []

    def _join(self, reply: bytes, rest: bytes) -> list[Action]:
        """What the client sent behind PASS is the backend's now, byte for byte and exactly once."""
        self.phase = RELAYING
        self._login = None
        self._secret = None
        return [_LOGGED_IN, _COUNT_LOGIN, actions.Relay(reply + b"\r\n" + rest, self.lines.take_rest())]

    def _rejected(self, rejected: Rejected) -> list[Action]:
        """The backend's words go to the log; the client gets its response code and ours, which tell strangers
        nothing.
        """
        assert self._route is not None
        code = PASSED_ON.get(rejected.code or b"")
        own_password = rejected.of_login and self._route.secret is None
        if own_password and code in (None, Code.AUTH):
            return [_LEAVE_BACKEND, *self._wrong_login("backend")]
        if rejected.of_login and code not in (None, Code.AUTH):
            return [_LEAVE_BACKEND, *self._wrong_login("backend", code)]
        note = actions.Note(
            messages.BACKEND_FAILED, self._about_backend(rejected.step, rejected.reply.decode("utf-8", "replace"))
        )
        failed: list[Action] = [note, actions.Count("backend_failures")]
        if code is None or code is Code.AUTH or self._rules.softfail:
            return failed + self._trouble("backend_failed")
        return [*failed, actions.Send(replies.err(_OWN_WORDS[code], code)), self._end("backend_failed")]

    def backend_failed(self, reason: str) -> list[Action]:
        """The backend is not reachable, went away, or talks nonsense, before the two were joined."""
        note = actions.Note(messages.BACKEND_FAILED, self._about_backend(self.phase.phrase, reason))
        return [note, actions.Count("backend_failures"), *self._trouble("backend_failed")]

    def _about_backend(self, step: str, reason: str) -> dict[str, object]:
        return {"backend": self.backend, "user": self.user, "step": step, "reason": reason}

    def _end(self, ending: str) -> Action:
        self.phase = ENDED
        return actions.End(ending)


def _in_one_piece(todo: list[Action]) -> list[Action]:
    """The same, but neighbouring replies are one: a client that pipelines gets its answers in one packet."""
    joined: list[Action] = []
    for kind, group in itertools.groupby(todo, type):
        if kind is actions.Send:
            joined.append(actions.Send(b"".join([action.data for action in group if isinstance(action, actions.Send)])))
        else:
            joined += group
    return joined
