"""What the proxy says to a backend, and makes of what it hears: login, connection, mail check, up to the relay.

That a user is to be logged in here is decided in machine.py; where a backend lets nobody in: failed_logins.py.
One of the classes of which the machine is made (machine.py lists them). Pure, as they all are.
"""

from popular import messages
from popular.pdm.contract import Route, Secret, Token
from popular.protocol import xpop
from popular.protocol.international import NOTHING
from popular.protocol.mailcheck import LOAD_TOO_HIGH, NO_MAIL, NULL_IN_ANSWER, Mail
from popular.protocol.replies import Code
from popular.proxy.session.backend.backend_auth import Credentials, lacks_secret, login_for
from popular.proxy.session.backend.backend_login import Broken, LoggedIn, Pop3Login, Rejected, XpopLogin, xclient
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import NO_MECHANISMS
from popular.proxy.session.backend.referral import Referral, referred_to, why_not
from popular.proxy.session.limits.login_orders import DRAINED, GO_ON, AskedLogin
from popular.proxy.session.machine.exchanges import Exchanges
from popular.proxy.session.machine.phases import CHECKING, CONNECTING, LOGGING_IN, RELAYING
from supervisor.octets import fields_of, joined


class BackendSide(Exchanges):
    """One session, as far as its backend goes."""

    __slots__ = ()

    # The mailbox

    def _begin_dialogue(self, password_of_module: Secret | None, backend: BackendRuntime) -> None:
        """`password_of_module`: the route's."""
        secret = password_of_module or self._secret
        self._password_is_ours = password_of_module is not None or backend.trusts_us
        line = xclient(self.peer_ip, self.peer_port, self._sid) if backend.names_client else b""
        known = backend.announced
        ahead = known is not None and known.pipelines()
        try:
            if backend.says_user:
                assert secret is not None
                user, password = self.target.encode(), secret.reveal()
                if line or backend.tells_stls:
                    self._dialogue = Pop3Login(user, password, ahead, stls=backend.tells_stls, xclient=line)
                else:
                    self._dialogue = Pop3Login(user, password, ahead)
            else:
                token = None if self._question is None or password_of_module is not None else self._question.token
                shown = Credentials(self.target, secret, token)
                offered = known.mechanisms() if known is not None else NO_MECHANISMS
                self._dialogue = login_for(backend.settings, shown, xclient=line, ahead=ahead, offered=offered)
        except UnicodeEncodeError:  # a module may have it from where names have other octets
            self._bad_mailbox("the user's name there cannot be written in UTF-8")
            return
        except ValueError as error:
            if backend.trusts_us:
                self._bad_mailbox(str(error))
            else:
                self._wrong_login(label="password")
            return
        if self._utf8 or self._language:
            self._dialogue.tell_first(self._manner(backend))
        self._connect(backend)

    def _manner(self, backend: BackendRuntime) -> list[bytes]:
        """What the client has said of how it is spoken to, for a backend that announces it."""
        offered = backend.announced.international() if backend.announced is not None else NOTHING
        lines = [b"UTF8\r\n"] if self._utf8 and offered.utf8 else []
        if self._language and offered.languages:
            lines.append(f"LANG {self._language}\r\n".encode())
        return lines

    def _shows(self) -> Secret | Token | None:
        """What the client has shown that could be passed on: its password, or its token."""
        return self._secret if self._question is None else self._secret or self._question.token

    def _no_secret(self) -> None:
        self._verbs.note(messages.NO_SECRET, {"user": self.user, "backend": self.backend_id})
        self._end_with_err("no_secret", code=Code.SYS_PERM)

    def _open_mailbox(self, route: Route, backend: BackendRuntime) -> None:
        try:
            self._dialogue = XpopLogin(self.target, self._sid, route.flags)
        except (xpop.BadMailboxName, xpop.BadRequest) as error:
            self._bad_mailbox(str(error))
            return
        if backend.asks_for_mail:
            self._move(CHECKING)
            self._verbs.check_mail(backend, self.target, self._rules.checktimeout)
        else:
            self._connect(backend)

    def _bad_mailbox(self, reason: str) -> None:
        """The user's password is right; that there can be no such mailbox is the operator's to repair."""
        self._verbs.note(messages.BAD_MAILBOX, {"user": self.user, "mailbox": self.target, "reason": reason})
        self._end_with_err("bad_mailbox", code=Code.SYS_PERM)

    def checked(self, mail: Mail | None, reason: str) -> None:
        """What the mail check found; None if it was not answered properly or in time, for this reason."""
        verbs = self._verbs
        if mail is None:
            self._tell_unchecked(reason)
        elif mail is NO_MAIL or mail is LOAD_TOO_HIGH:
            verbs.count("mail_checks", "empty" if mail is NO_MAIL else "load", "")
            self._show_empty()
            return
        else:
            verbs.count("mail_checks", "mail", "")
        assert self._backend is not None
        self._connect(self._backend)

    def _tell_unchecked(self, reason: str) -> None:
        if reason == NULL_IN_ANSWER:
            self._verbs.note(messages.NULL_BYTE_IN_INPUT, {"phase": self.phase.phrase})
        self._verbs.note(messages.CHECK_FAILED, {**self._where(), "reason": reason})
        self._verbs.count("mail_checks", "unanswered", "")

    def _show_empty(self) -> None:
        if self._passes_limits():
            self._simulate()

    # The connection and the login

    def _connect(self, backend: BackendRuntime) -> None:
        assert self._dialogue is not None
        self._move(CONNECTING)
        self._patience = backend.patience
        self._verbs.connect(backend, self._dialogue.greets, backend.connect_seconds)

    def connected(self) -> None:
        """The connection to a backend that does not greet stands."""
        assert self._dialogue is not None
        self._begin_login()
        self._verbs.send_backend(self._dialogue.opening())

    def _begin_login(self) -> None:
        self._move(LOGGING_IN)
        assert self._backend is not None
        self._verbs.expect(self._backend.login_seconds)

    def backend_says(self, data: bytes) -> None:
        """The backend sent this, before the two are joined. Its greeting tells that the connection stands."""
        assert self._dialogue is not None
        if self.phase is CONNECTING:
            self._begin_login()
        progress = self._dialogue.hear(data)
        if type(progress) is bytes:
            self._verbs.send_backend(progress)
        elif isinstance(progress, LoggedIn):
            self._backend_accepted(progress)
        elif isinstance(progress, Rejected):
            self._rejected(progress)
        elif isinstance(progress, Broken):
            self.backend_failed(progress.reason, progress.word)
        elif progress is not None:
            self._verbs.start_backend_tls()

    def backend_tls_up(self) -> None:
        """TLS with the backend stands, as it was asked for."""
        assert isinstance(self._dialogue, Pop3Login)
        self._verbs.send_backend(self._dialogue.tls_up())

    def _backend_accepted(self, said: LoggedIn) -> None:
        """What the client sent after PASS is the backend's now, byte for byte and exactly once."""
        if self._rejections is not None:
            self._rejections.note_success(self.target)
        if not self._passes_limits():
            return
        self._move(RELAYING)
        self._forget()
        self._logged_in()
        reply, rest = fields_of(said)
        self._verbs.relay(joined(joined(reply, b"\r\n"), rest), self.lines.take_rest())

    def _logged_in(self) -> None:
        self._verbs.logged_in()
        if self.mechanism:
            self._verbs.count("sasl_logins", self.mechanism, self._rules.vserv)

    def _passes_limits(self) -> bool:
        """Whether no limit keeps out a user whose password is right. Else he is told so; it was no wrong login."""
        around, own = self._around, self._own_limits
        if own is None and not (around.counts_guesses or around.counts_sessions):
            return True
        self._charged = False
        self.counted = True
        hindrance = around.limits.comes_in(self._row_number, self._whom(), own)
        if hindrance is None:
            return True
        self._verbs.leave_backend()
        self._note_hindrance(hindrance.limit)
        self._try_again(hindrance.code)
        return False

    # A backend that knows another

    def _refer(self, referral: Referral, step: str, said_by: BackendRuntime) -> None:
        """Another server has the mailbox, says a backend: there the user is logged in, once, if that is allowed."""
        assert self._routing is not None
        where = f"{referral.host} port {referral.port}"
        to = referred_to(referral, said_by.settings, self._rules.backends, target=self.target)
        why = why_not(to, said_by.settings, again=self._referred, ourselves=self._rules.ourselves)
        if to is None or why:
            # Of one user that says something, of the backend nothing but that it is there.
            self._tell_failure(step, f"it refers the user to {where}, {why}", label="refused")
            if self._health is not None:
                self._health.answered(self.peer_ip)
            self._service_failed("backend_failed")
            return
        fields: dict[str, object] = {"user": self.user, "backend": said_by.id, "to": where, "as": referral.user}
        self._verbs.note(messages.REFERRED, fields)
        self._verbs.leave_backend()
        if self._health is not None:
            self._health.answered(self.peer_ip)
        if to.id != said_by.id and not self._takes_new(to.id):
            self._end_with_err(DRAINED)
            return
        self._rejections = self._health = self.poll = None
        self._referred = True
        self._backend, self.backend_id, self.target = (
            self._around.backend_runtimes[to.id].elsewhere(to),
            to.id,
            referral.user,
        )
        if lacks_secret(self._routing, to, self._shows()):
            self._no_secret()
        else:
            route, _basis = self._routing
            self._begin_dialogue(route.secret, self._backend)

    def _takes_new(self, backend_id: str) -> bool:
        """Whether the operator lets new users in to a backend to which neither he nor a module has led this one."""
        return not self._around.orders.any or self._around.orders.verdict(self._asked(backend_id))[0] == GO_ON

    def _asked(self, backend_id: str) -> AskedLogin:
        """About whom the operator may have ordered something: by the name that he has written, and by his module's."""
        vserv, account = self._rules.vserv, self.account()
        return AskedLogin(vserv=vserv, namespace=self.namespace, user=self.user, backend=backend_id, account=account)

    # The end

    def relay_ended(self, ending: str) -> None:
        """Client and backend are no longer joined: one of them has closed, broke, or sent what it must not."""
        if ending == "null_byte":
            self._null_byte()
        else:
            self._end(ending)
