"""The proxy session as a machine: bytes and facts in, actions out. No socket, clock, log or file in here.

    client_says, client_eof      what the client sent, or that it will send nothing more (client_side.py)
    tls_up                       the handshake is done (client_side.py)
    decided, checked             what the modules, and the mail check, have answered
    connected, backend_says, backend_failed      how it goes with the backend

Each returns the actions to be done, in order (actions.py). When the backend has let the user in, the last action is
Relay, and from then on the bytes do not pass through here.
"""

from popular import messages
from popular.pdm.chain import Admitted, CannotTell, Decision, NobodyKnows
from popular.pdm.contract import Route
from popular.protocol import replies, xpop
from popular.protocol.mailcheck import Mail
from popular.protocol.replies import Code
from popular.proxy import actions
from popular.proxy.actions import Action
from popular.proxy.backend_login import BackendLogin, Broken, Joined, Pop3Login, Progress, Rejected, XpopLogin, xclient
from popular.proxy.client_side import LOGGED_IN, ClientSide, in_one_piece
from popular.proxy.phases import ASKING, CHECKING, CONNECTING, GREETED, LOGGING_IN, RELAYING
from popular.proxy.rules import Rules
from popular.proxy.settings.backend import POP3, STARTTLS, Backend

MOST_FAILED_LOGINS = 3
_BAD_LOGIN = "the user name or the password is wrong"
_TRY_LATER = "the mailbox cannot be reached at the moment, please try again later"

_OWN_WORDS = {
    Code.AUTH: _BAD_LOGIN,
    Code.IN_USE: "the mailbox is in use by another session",
    Code.LOGIN_DELAY: "the mailbox was asked too soon after the last time",
    Code.SYS_TEMP: _TRY_LATER,
    Code.SYS_PERM: "the mailbox cannot be opened, please ask your postmaster",
}

_LEAVE_BACKEND = actions.LeaveBackend()


class Machine(ClientSide):
    """One session.

    `phase`, `user`, `namespace`, `backend` and `target` may be looked at; nobody but the machine sets them.
    """

    __slots__ = ("_failures", "_login", "_route", "backend", "target")

    def __init__(self, rules: Rules, peer_ip: str, peer_port: int, sid: str, tls: bool = False) -> None:
        super().__init__(rules, peer_ip, peer_port, sid, tls)
        self._failures = 0
        self._route: Route | None = None
        self._login: BackendLogin | None = None
        self.backend = ""
        self.target = ""

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
            return [note, *self._trouble("module_failed", "module")]
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
        todo: list[Action] = [note, actions.Count("login_failures", why, self._rules.vserv)]
        todo.append(actions.Send(replies.err(_OWN_WORDS[code], code)))
        if self._failures >= MOST_FAILED_LOGINS:
            return [*todo, self._end("too_many_failures")]
        self.phase = GREETED
        return in_one_piece(todo + self._go_on())

    def _trouble(self, ending: str, why: str = "unavailable") -> list[Action]:
        """Not the client's fault: `why` says for the counter whose it is.

        An empty mailbox would make clients forget what they have seen, so it is shown only on demand.
        """
        if self._rules.softfail:
            return [_LEAVE_BACKEND, *self._simulate()]
        counted = actions.Count("login_failures", why, self._rules.vserv)
        return [counted, actions.Send(replies.err(_TRY_LATER, Code.SYS_TEMP)), self._end(ending)]

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
            counted = actions.Count("login_failures", "unavailable", self._rules.vserv)
            return [counted, actions.Send(replies.err(_TRY_LATER, Code.SYS_TEMP)), self._end("backend_offline")]
        if backend.state == "fake":
            return self._simulate()
        self._route = route
        if backend.prot == POP3 or fallback:
            return self._log_in(route, backend)
        return self._open_mailbox(route, backend)

    def _log_in(self, route: Route, backend: Backend) -> list[Action]:
        assert self._secret is not None
        secret = route.secret or self._secret
        try:
            self._login = Pop3Login(
                self.target.encode(),
                secret.reveal(),
                stls=backend.tls == STARTTLS,
                xclient=xclient(self._peer_ip, self._peer_port, self._sid) if backend.xclient else b"",
            )
        except ValueError:
            return self._wrong_login("password")
        return self._connect(backend)

    def _open_mailbox(self, route: Route, backend: Backend) -> list[Action]:
        try:
            self._login = XpopLogin(self.target, self._sid, route.flags)
        except xpop.BadMailboxName as error:
            return self._bad_mailbox(str(error))
        if backend.prot == "CXPOP":
            self.phase = CHECKING
            return [actions.CheckMail(backend, self.target)]
        return self._connect(backend)

    def _bad_mailbox(self, reason: str) -> list[Action]:
        """The user's password is right; that there can be no such mailbox is the operator's to repair."""
        return [
            actions.Note(messages.BAD_MAILBOX, {"user": self.user, "mailbox": self.target, "reason": reason}),
            actions.Count("login_failures", "unavailable", self._rules.vserv),
            actions.Send(replies.err(_OWN_WORDS[Code.SYS_PERM], Code.SYS_PERM)),
            self._end("bad_mailbox"),
        ]

    def checked(self, mail: Mail | None) -> list[Action]:
        """What the mail check found; None if it was not answered properly or in time."""
        if self.phase is not CHECKING:
            return []
        if mail in (Mail.NONE, Mail.LOAD_TOO_HIGH):
            return [actions.Count("mail_checks", "empty" if mail is Mail.NONE else "load"), *self._simulate()]
        found = actions.Count("mail_checks", "unanswered" if mail is None else "mail")
        return [found, *self._connect(self._rules.backends[self.backend])]

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
            return self.backend_failed(progress.reason, progress.word)
        return [] if progress is None else [progress]

    def backend_tls_up(self) -> list[Action]:
        """TLS with the backend stands, after StartBackendTls."""
        assert isinstance(self._login, Pop3Login)
        return [self._login.tls_up()]

    def _join(self, reply: bytes, rest: bytes) -> list[Action]:
        """What the client sent behind PASS is the backend's now, byte for byte and exactly once."""
        self.phase = RELAYING
        self._login = None
        self._secret = None
        return [LOGGED_IN, actions.Relay(reply + b"\r\n" + rest, self.lines.take_rest())]

    def _rejected(self, rejected: Rejected) -> list[Action]:
        """The backend's words go to the log; the client gets its response code and ours, which tell strangers
        nothing.
        """
        assert self._route is not None
        code = replies.known_code(rejected.code)
        own_password = rejected.of_login and self._route.secret is None
        if own_password and code in (None, Code.AUTH):
            return [_LEAVE_BACKEND, *self._wrong_login("backend")]
        if rejected.of_login and code not in (None, Code.AUTH):
            return [_LEAVE_BACKEND, *self._wrong_login("backend", code)]
        note = actions.Note(
            messages.BACKEND_FAILED, self._about_backend(rejected.step, rejected.reply.decode("utf-8", "replace"))
        )
        failed: list[Action] = [note, actions.Count("backend_failures", rejected.word, self.backend)]
        if code is None or code is Code.AUTH or self._rules.softfail:
            return failed + self._trouble("backend_failed")
        refused = actions.Count("login_failures", "unavailable", self._rules.vserv)
        return [*failed, refused, actions.Send(replies.err(_OWN_WORDS[code], code)), self._end("backend_failed")]

    def backend_failed(self, reason: str, word: str = "") -> list[Action]:
        """The backend is not reachable, went away, or talks nonsense, before the two were joined.

        `word` is for the counter (backend_login.FAILURES), if it is known better than the phase tells it.
        """
        word = word or ("connect" if self.phase is CONNECTING else "closed")
        note = actions.Note(messages.BACKEND_FAILED, self._about_backend(self.phase.phrase, reason))
        return [note, actions.Count("backend_failures", word, self.backend), *self._trouble("backend_failed")]

    def _about_backend(self, step: str, reason: str) -> dict[str, object]:
        return {"backend": self.backend, "user": self.user, "step": step, "reason": reason}
