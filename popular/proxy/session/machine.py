"""The proxy session as a machine: bytes and facts in, verbs called. No socket, clock, log or file in here.

    begin                              the connection is there (client_side.py)
    client_says, client_eof            what the client sent, or that it will send nothing more (client_side.py;
                                       what commands mean before the login: authorization.py)
    proceed                            all others have had their turn, behind the verb `rest` (client_side.py)
    introduced, header_failed          the PROXY header (client_side.py)
    tls_up, tls_failed                 TLS with the client (client_side.py)
    decided, checked                   what the modules, and the mail check, have answered
    connected, backend_says, backend_tls_up, backend_failed      how it goes with the backend
    released                           the operator holds the client no more
    relay_ended                        the two were joined, and are no more
    expired                            a deadline has passed

It is one object of four classes, one on another: ClientSide, Authorization, Teller (telling.py), Machine. Each entry
may call verbs (verbs.py), which never call back. When the backend has let the user in, the last one is `relay`,
and from then on the octets do not pass through here. What ends a session from outside (a broken connection, the
supervisor, an error of ours) is not told to the machine: there is nothing to decide.

`listens` (client_side.py) is no entry but a question, asked when an entry has returned: is the client to be read?
"""

from popular import messages
from popular.pdm.chain import Admitted, Decision, NobodyKnows, RefusedLogin
from popular.pdm.contract import CannotTell, Route, Secret, Token
from popular.protocol import replies, xpop
from popular.protocol.mailcheck import Mail
from popular.protocol.replies import Code
from popular.proxy.session.backend_auth import Credentials, lacks_secret, login_for
from popular.proxy.session.backend_login import (
    STARTING_TLS as TLS_STEP,
)
from popular.proxy.session.backend_login import (
    Broken,
    Joined,
    Pop3Login,
    Rejected,
    XpopLogin,
    xclient,
)
from popular.proxy.session.client_side import HANDSHAKE_SECONDS, HEADER_SECONDS
from popular.proxy.session.known import NO_MECHANISMS, Poll
from popular.proxy.session.orders import DRAINED, FAKE, LOCKED, moved
from popular.proxy.session.orders import HELD as HELD_BACK
from popular.proxy.session.phases import (
    ASKING,
    AWAITING_HEADER,
    CHECKING,
    CONNECTING,
    HELD,
    LOGGING_IN,
    RELAYING,
    STARTING_TLS,
)
from popular.proxy.session.referral import Referral, referral_of, referred_to, why_not
from popular.proxy.session.refusals import DEFERRALS, Affair, Refusals, affair, word_of
from popular.proxy.session.surroundings import Surroundings
from popular.proxy.session.telling import Teller
from popular.proxy.session.verbs import Verbs
from popular.proxy.settings.backend import OFF, OURS_ALONE, POP3, STARTTLS, USER, Backend, placed_at

NO_CONNECTION, NO_HANDSHAKE, NO_ANSWER = "no connection in time", "no TLS handshake in time", "no answer in time"
"""What a backend has not done when its time is over."""
OURS = "ours"
"""The word of a failure that is no backend's: we lack a descriptor, memory or a port."""
LINGERING = "lingering"
"""The relay waits for nothing but the last words of a backend, for a client that sends nothing more."""

_STEPS = {
    "connect": CONNECTING.phrase,
    "tls": TLS_STEP,
    NO_CONNECTION: CONNECTING.phrase,
    NO_HANDSHAKE: TLS_STEP,
}
"""Steps of an attempt at a backend beside those of its login, by the word or the reason of the failure."""

_TIME_OUTS = {"auth": "auth_timeout", "session": "session_timeout"}


class Machine(Teller):
    """One session.

    `phase`, `user`, `namespace`, `backend` and `target` may be looked at; nobody but the machine sets them.
    """

    __slots__ = (
        "_health_of",
        "_password_is_ours",
        "_patience",
        "_polls",
        "_referred",
        "_refusals",
        "_refusals_of",
        "poll",
    )

    def __init__(self, verbs: Verbs, around: Surroundings, peer: tuple[str, int]) -> None:
        """`peer`: the client's address and port."""
        self._set_up(verbs, around, peer)
        self._refusals_of = around.refusals
        self._health_of = around.health
        self._polls = around.polls
        self.poll: Poll | None = None  # the login, if it may be answered without its backend the next time
        self._refusals: Refusals | None = None
        """The backend's, if it is told the user's own password: else its refusals say nothing of other users."""
        self._password_is_ours = False
        """The backend was told a password of a module's, not the client's."""
        self._referred = False
        """A backend has sent us to another one."""
        self._patience = 0.0
        """Seconds more for the greeting, where a backend is found connected when the time for the connect is over."""

    # The modules

    def decided(self, decision: Decision) -> None:
        """What the modules made of the user name and the password."""
        if self.phase is not ASKING:
            return  # A thread cannot be stopped: this one was given up.
        self._led_to_backup = False
        if self._proving is not None and not isinstance(decision, CannotTell):
            self._have_proven(self._proving, decision)
        elif isinstance(decision, Admitted):
            self._own_limits = decision.limits
            if decision.vouched:
                self._tell_master_login(decision)
            self._lead(decision.route, False, decision.vouched)
        elif isinstance(decision, NobodyKnows) and self._rules.fallback and self._has_own_password():
            self._own_limits = None
            self._lead(Route(self._rules.fallback), True, False)
        elif isinstance(decision, CannotTell):
            self._verbs.note(messages.MODULE_FAILED, {"user": self.user, "reason": decision.reason})
            self._trouble("module_failed", "module")
        elif isinstance(decision, NobodyKnows):
            self._wrong_login("unknown")
        else:
            assert isinstance(decision, RefusedLogin), "what is to prove is proven by now"
            self._refused(decision)

    # What the operator has ordered

    def _lead(self, route: Route, fallback: bool, vouched: bool) -> None:
        """The modules have let the user in: does the operator, and where to?"""
        self._home = route.backend
        if self._orders.any:
            self._obey(route, fallback, vouched, waited=False)
        else:
            self._follow(route, fallback, vouched)

    def _obey(self, route: Route, fallback: bool, vouched: bool, *, waited: bool) -> None:
        """`waited`: he was held as long as may be."""
        orders = self._orders
        asking = orders.routed(self._asked(route.backend))
        verdict, seconds = orders.verdict(asking)
        if verdict == LOCKED:
            self._wrong_login("locked")
        elif verdict == HELD_BACK and not waited:
            self._led = route, fallback, vouched
            self._move(HELD)
            self._verbs.await_release(asking, seconds)
        elif verdict in (HELD_BACK, DRAINED):
            self._refuse(verdict, "unavailable", Code.SYS_TEMP)
        elif verdict == FAKE:
            self.backend, self.target = asking.backend, route.target or self.user
            self._show_empty()
        elif not vouched and self._is_open_to_all(self._rules.backends.get(asking.backend)):
            self.backend = asking.backend
            self._no_secret()
        else:
            self._follow(moved(route, asking.backend), fallback, vouched)

    def released(self) -> None:
        """The operator has ordered something else about a user who is held. Not any more, if his time was over in the
        same turn of the loop.
        """
        if self.phase is HELD and self._held is None:
            self._go_on_obeying(waited=False)

    def _go_on_obeying(self, *, waited: bool) -> None:
        assert self._led is not None
        self._move(ASKING)
        self._obey(*self._led, waited=waited)

    # The mailbox

    def _follow(self, route: Route, fallback: bool, vouched: bool) -> None:
        """The user may come in: where is the mailbox, and is there anything in it? See Admitted for `vouched`."""
        backend = self._rules.backends.get(route.backend)
        self._backend = backend = backend if route.server is None else placed_at(route.server, backend)
        self.backend, self.target = route.backend, route.target or self.user
        self._health = None if route.server is not None else self._health_of.get(route.backend)
        self._refusals = self.poll = None
        self._led = route, fallback, vouched
        self._referred = False
        if backend is None:
            self._verbs.note(messages.NO_BACKEND, {"backend": route.backend, "user": self.user})
            self._trouble("no_backend")
        elif route.server is not None and self._rules.ourselves.are_at(*route.server):
            self._note_backend(CONNECTING.phrase, "it is one of our own virtual servers", "refused")
            self._trouble("backend_failed")
        elif backend.state == "offline":
            self._refuse("backend_offline", "unavailable", Code.SYS_TEMP)
        elif backend.state == "fake":
            self._show_empty()
        elif self._health is not None and not self._health.takes(self._peer_ip):
            backup = self._backup_of(backend, vouched)
            if backup:
                self._follow(route._replace(backend=backup), fallback, vouched)
            else:
                self._while_down(self._health)
        elif backend.prot != POP3 and not fallback:
            self._open_mailbox(route, backend)
        elif not self._is_plain_login(backend, vouched) and lacks_secret(self._led, backend, self._shows()):
            self._no_secret()
        else:
            if not fallback and route.secret is None and backend.login not in OURS_ALONE:
                self._refusals = self._refusals_of.get(backend.id)
            if not backend.absorb or not self._is_absorbed(backend, vouched):
                self._log_in(route, backend)

    def _is_absorbed(self, backend: Backend, vouched: bool) -> bool:
        """Whether the same login, by the user's own password, found no mail a moment ago: then it is shown none."""
        if vouched or self._polls is None or self._secret is None or not self._has_own_password():
            return False
        self.poll = poll = self._polls.poll_of(self._whom(), self._secret, backend, target=self.target)
        if not self._polls.is_empty(poll):
            return False
        if self._may_enter():
            self.absorbed = True
            self._verbs.count("absorbed", None, self.backend)
            self._simulate()
        return True

    def _show_empty(self) -> None:
        if self._may_enter():
            self._simulate()

    def _is_plain_login(self, backend: Backend, vouched: bool) -> bool:
        """Whether it is as nearly always: by the password that the client has said behind USER, and it is his own."""
        return backend.login == USER and not vouched and self._question is None

    def _shows(self) -> Secret | Token | None:
        """What the client has shown that could be passed on: its password, or its token."""
        return self._secret if self._question is None else self._secret or self._question.token

    def _no_secret(self) -> None:
        self._verbs.note(messages.NO_SECRET, {"user": self.user, "backend": self.backend})
        self._refuse("no_secret", "unavailable", Code.SYS_PERM)

    def _log_in(self, route: Route, backend: Backend) -> None:
        secret = route.secret or self._secret
        login = backend.login
        self._password_is_ours = route.secret is not None or login in OURS_ALONE
        line = xclient(self._peer_ip, self._peer_port, self._sid) if backend.xclient else b""
        known = self._announced.get(backend.id)
        ahead = known is not None and known.pipelines()
        try:
            if login == USER:
                assert secret is not None
                user, password, stls = self.target.encode(), secret.reveal(), backend.tls == STARTTLS
                if stls or line:
                    self._login = Pop3Login(user, password, ahead, stls=stls, xclient=line)
                else:
                    self._login = Pop3Login(user, password, ahead)
            else:
                token = None if self._question is None or route.secret is not None else self._question.token
                shown = Credentials(self.target, secret, token)
                offered = known.mechanisms() if known is not None else NO_MECHANISMS
                self._login = login_for(backend, shown, xclient=line, ahead=ahead, offered=offered)
        except ValueError as error:
            if login in OURS_ALONE:
                self._bad_mailbox(str(error))
            else:
                self._wrong_login("password")
            return
        if self._utf8 or self._language:
            self._login.tell_first(self._manner(backend))
        self._connect(backend)

    def _open_mailbox(self, route: Route, backend: Backend) -> None:
        try:
            self._login = XpopLogin(self.target, self._sid, route.flags)
        except (xpop.BadMailboxName, xpop.BadRequest) as error:
            self._bad_mailbox(str(error))
            return
        if backend.prot == "CXPOP":
            self._move(CHECKING)
            self._verbs.check_mail(backend, self.target, self._rules.checktimeout)
        else:
            self._connect(backend)

    def _bad_mailbox(self, reason: str) -> None:
        """The user's password is right; that there can be no such mailbox is the operator's to repair."""
        self._verbs.note(messages.BAD_MAILBOX, {"user": self.user, "mailbox": self.target, "reason": reason})
        self._refuse("bad_mailbox", "unavailable", Code.SYS_PERM)

    def checked(self, mail: Mail | None, reason: str) -> None:
        """What the mail check found; None if it was not answered properly or in time, for this reason."""
        verbs = self._verbs
        if mail is None:
            verbs.note(messages.CHECK_FAILED, {"backend": self.backend, "address": self._address(), "reason": reason})
            verbs.count("mail_checks", "unanswered", "")
        elif mail is Mail.NONE or mail is Mail.LOAD_TOO_HIGH:
            verbs.count("mail_checks", "empty" if mail is Mail.NONE else "load", "")
            self._login = None
            self._show_empty()
            return
        else:
            verbs.count("mail_checks", "mail", "")
        assert self._backend is not None
        self._connect(self._backend)

    # The backend

    def _connect(self, backend: Backend) -> None:
        assert self._login is not None
        self._move(CONNECTING)
        seconds = backend.connecttimeout or self._rules.connecttimeout
        self._patience = max(0.0, self._login_seconds(backend) - seconds)
        self._verbs.connect(backend, self._login.greets, seconds)

    def connected(self) -> None:
        """The connection to a backend that does not greet stands."""
        assert self._login is not None
        self._begin_login()
        self._verbs.send_backend(self._login.opening())

    def _begin_login(self) -> None:
        self._move(LOGGING_IN)
        assert self._backend is not None
        self._verbs.expect(self._login_seconds(self._backend))

    def _login_seconds(self, backend: Backend) -> float:
        """How long the login may take when the connection stands."""
        return backend.logintimeout or self._rules.logintimeout

    def backend_says(self, data: bytes) -> None:
        """The backend sent this, before the two are joined. Its greeting tells that the connection stands."""
        assert self._login is not None
        if self.phase is CONNECTING:
            self._begin_login()
        progress = self._login.hear(data)
        if type(progress) is bytes:
            self._verbs.send_backend(progress)
        elif isinstance(progress, Joined):
            self._join(progress)
        elif isinstance(progress, Rejected):
            self._rejected(progress)
        elif isinstance(progress, Broken):
            self.backend_failed(progress.reason, progress.word)
        elif progress is not None:
            self._verbs.start_backend_tls()

    def backend_tls_up(self) -> None:
        """TLS with the backend stands, as it was asked for."""
        assert isinstance(self._login, Pop3Login)
        self._verbs.send_backend(self._login.tls_up())

    def _join(self, joined: Joined) -> None:
        """What the client sent behind PASS is the backend's now, byte for byte and exactly once."""
        if self._refusals is not None:
            self._refusals.let_in(self.target)
        self._login = None
        if not self._may_enter():
            return
        self._move(RELAYING)
        self._forget()
        self._logged_in()
        self._verbs.relay(joined.reply + b"\r\n" + joined.rest, self.lines.take_rest())

    def _rejected(self, rejected: Rejected) -> None:
        """The backend's words go to the log; the client gets its response code and ours, which tell strangers
        nothing.
        """
        assert self._backend is not None
        if rejected.of_login and (referral := referral_of(rejected.reply)) is not None:
            self._refer(referral, rejected.step, self._backend)
            return
        code = replies.known_code(rejected.code)
        in_clear = self._backend.tls == OFF
        of_user = not self._password_is_ours
        whose = affair(rejected, code, in_clear=in_clear, of_user=of_user, user=self.target)
        reply = rejected.reply.decode("utf-8", "replace")
        said = {"code": (rejected.code or b"").decode("utf-8", "replace")}
        if whose is Affair.BACKEND or whose is Affair.TLS:
            self._note_backend(rejected.step, reply, word_of(rejected, code, whose), said=said)
            self._trouble("backend_failed", code=Code.SYS_PERM if code is Code.SYS_PERM else Code.SYS_TEMP)
            return
        self._verbs.leave_backend()
        if self._health is not None:
            self._health.answered(self._peer_ip)
        said |= {"backend": self.backend, "reply": reply}
        if whose is Affair.MAILBOX:
            assert code is not None
            self._verbs.note(messages.LOGIN_DEFERRED, {**self._login_fields(), **said})
            self._verbs.count("logins_deferred", DEFERRALS[code], self.backend)
            self._no_guess()
            self._limits.stays_out(self._row)
            self._login = None
            self._try_again(code)
            return
        if whose is Affair.USER_UNSAID and self._refusals is not None:
            self._doubt(self._refusals, rejected.step, reply)
        self._wrong_login("backend", said)

    def _refer(self, referral: Referral, step: str, said_by: Backend) -> None:
        """Another server has the mailbox, says a backend: there the user is logged in, once, if that is allowed."""
        assert self._led is not None
        where = f"{referral.host} port {referral.port}"
        to = referred_to(referral, said_by, self._rules.backends, target=self.target)
        why = why_not(to, said_by, again=self._referred, ourselves=self._rules.ourselves)
        if to is None or why:
            self._note_backend(step, f"it refers the user to {where}, {why}", "refused")
            self._trouble("backend_failed")
            return
        fields: dict[str, object] = {"user": self.user, "backend": said_by.id, "to": where, "as": referral.user}
        self._verbs.note(messages.REFERRED, fields)
        if to.id != said_by.id and not self._takes_new(to.id):
            self._verbs.leave_backend()
            self._refuse(DRAINED, "unavailable", Code.SYS_TEMP)
            return
        self._verbs.leave_backend()
        self._refusals = self._health = self.poll = None
        self._referred = True
        self._backend, self.backend, self.target = to, to.id, referral.user
        if lacks_secret(self._led, to, self._shows()):
            self._no_secret()
        else:
            self._log_in(self._led[0], to)

    def backend_failed(self, reason: str, word: str) -> None:
        """The backend is not reachable, went away, or talks nonsense, before the two were joined.

        `word` is for the counter (backend_login.FAILURES), or "" where the phase tells it, or OURS.
        """
        login = self._login
        assert login is not None
        if login.refusal is not None:
            self._rejected(login.refusal)
            return
        if word == OURS:
            fields: dict[str, object] = {"user": self.user, "step": self.phase.phrase, "reason": reason}
            self._verbs.note(messages.NO_RESOURCES, fields)
            self._trouble("no_resources", "resources")
            return
        word = word or ("connect" if self.phase is CONNECTING else "closed")
        self._note_backend(_STEPS.get(word) or _STEPS.get(reason) or login.step, reason, word)
        if login.ahead:
            self._mistrust(login.step, reason)
        self._trouble("backend_failed")

    # The end

    def _end(self, ending: str) -> None:
        self._login = None
        Teller._end(self, ending)

    def relay_ended(self, ending: str) -> None:
        """Client and backend are no longer joined: one of them has closed, broke, or sent what it must not."""
        if ending == "null_byte":
            self._null_byte()
        else:
            self._end(ending)

    def expired(self, what: str, missing: str) -> None:
        """A deadline has passed: "step", "auth", "session" or "idle". `missing`: how far the backend had come, if there
        is one: NO_CONNECTION, NO_HANDSHAKE, NO_ANSWER or LINGERING.

        It closes without a word (RFC 1939 section 3); only a step has another way to go on.
        """
        if what == "step":
            self._step_expired(missing)
        elif what != "idle":
            self._end(_TIME_OUTS[what])
        elif self.phase is not RELAYING:
            self._end("idle_timeout")
        else:
            self._end("client_closed" if missing == LINGERING else "proxy_timeout")

    def _step_expired(self, missing: str) -> None:
        phase = self.phase
        if phase is AWAITING_HEADER:
            self.header_failed(f"no header within {HEADER_SECONDS:g} s")
        elif phase is STARTING_TLS:
            self.tls_failed("timeout", f"not done within {HANDSHAKE_SECONDS:.0f} s")
        elif phase is ASKING:
            self.decided(CannotTell(NO_ANSWER))
        elif phase is HELD:
            if self._held is None:
                self._go_on_obeying(waited=True)
            else:
                self._go_on_from_hold()
        elif phase is CHECKING:
            self.checked(None, NO_ANSWER)
        elif phase is CONNECTING and missing != NO_CONNECTION and self._patience:
            self._verbs.expect(self._patience)
            self._patience = 0.0
        else:
            self._verbs.leave_backend()
            self.backend_failed(missing, "timeout")
