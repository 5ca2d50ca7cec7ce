"""What the machine says of a login, and what it asks of others for it. It is told to log and counters, who opened whose
mailbox, which backend failed and why; and to a client who may not come in, that he may not. Asked are the limits, the
operator's orders, and who else has the mail of a backend that is down.

The third of the four classes of which the machine is made: behind `authorization.py`, in front of `machine.py`.
"""

from collections.abc import Mapping

from popular import messages
from popular.pdm.chain import Admitted, RefusedLogin
from popular.pdm.contract import Secret, UserLimits
from popular.protocol import replies
from popular.protocol.international import NOTHING, International
from popular.protocol.replies import Code
from popular.proxy.session.authorization import Authorization
from popular.proxy.session.backend_login import BackendLogin
from popular.proxy.session.known import HealthKnowledge
from popular.proxy.session.orders import GO_ON, AskedLogin
from popular.proxy.session.phases import CONNECTING
from popular.proxy.session.refusals import ENOUGH, OWN_WORDS, Refusals
from popular.proxy.session.surroundings import Surroundings
from popular.proxy.session.verbs import Verbs
from popular.proxy.settings.backend import Backend, looks_at_passwords

UNTRIED = ("maxwaiting", "maxsessions", "down")
"""Words of failures where the backend was not even asked."""

NO_FIELDS: Mapping[str, object] = {}
"""No fields more, for an entry of the log."""


class Teller(Authorization):
    """One session, as far as operator and client are told how the login went."""

    __slots__ = (
        "_announced",
        "_backend",
        "_health",
        "_home",
        "_in_common",
        "_led_to_backup",
        "_login",
        "_orders",
        "_own_limits",
        "_row",
        "backend",
        "counted",
        "target",
    )

    def _set_up(self, verbs: Verbs, around: Surroundings, peer: tuple[str, int]) -> None:
        Authorization._set_up(self, verbs, around, peer)
        self._announced = around.announced
        self._in_common = around.in_common
        self._orders = around.orders
        self._row = self._verbs.row
        self._own_limits: UserLimits | None = None
        self.counted = False
        """Limits may count this session: they were asked, and are told of its end."""
        self._login: BackendLogin | None = None
        """The dialogue with the backend. Holds a password, so it is let go of as soon as it has done its work."""
        self._backend: Backend | None = None
        """The one with the id `backend`; its address is another one where a route or a referral names a server."""
        self._led_to_backup = False
        """The backend of this login was down, and its backup was taken."""
        self._health: HealthKnowledge | None = None
        """How well that one is; None where a route or a referral names a server, which is not the backend itself."""
        self._home = ""
        """The backend to which the modules lead him, whatever becomes of that."""
        self.backend = ""
        self.target = ""

    def _tell_master_login(self, decision: Admitted) -> None:
        """A mailbox is opened by a password that is not its owner's (a master password): that is always logged."""
        route = decision.route
        fields = {"backend": route.backend, "target": route.target or self.user, "module": decision.authenticated_by}
        if self._question is not None and self._question.actor:
            fields["actor"] = self._question.actor
        self._verbs.note(messages.MASTER_LOGIN, {**self._login_fields(), **fields})
        self._verbs.count("master_logins", None, decision.authenticated_by)

    def _login_fields(self) -> dict[str, object]:
        """Fields of the log that say who wants to log in, and from where."""
        fields = {"client": self._peer_ip, "vserv": self._rules.vserv, "namespace": self.namespace}
        return {**fields, "user": self.user, **({"mechanism": self.mechanism} if self.mechanism else {})}

    def _doubt(self, refusals: Refusals, step: str, reply: str) -> None:
        """The backend refuses a user and does not say why: his wrong password, or does it refuse everybody (Refusals)?
        If it does, this counts as a failure of the backend too, and is logged once.
        """
        was = refusals.of_everybody
        refusals.refused(self.target)
        if not refusals.of_everybody:
            return
        if was:
            self._verbs.count("backend_failures", "everybody", self.backend)
        else:
            self._note_backend(step, f"it refused {ENOUGH} users in a row and does not say why: {reply}", "everybody")

    def _mistrust(self, step: str, reason: str) -> None:
        """The backend did not answer as it should to USER and PASS in one piece: for a while it gets them singly."""
        if self._announced[self.backend].mistrust():
            fields: dict[str, object] = {"backend": self.backend, "address": self._address()}
            self._verbs.note(messages.NOT_PIPELINED, {**fields, "step": step, "reason": reason})

    def _note_backend(self, step: str, reason: str, word: str, *, said: Mapping[str, object] = NO_FIELDS) -> None:
        """Logs and counts a failure of the backend. `word`: of backend_login.FAILURES; `said`: more fields."""
        fields: dict[str, object] = {"backend": self.backend, "address": self._address(), "user": self.user}
        self._verbs.note(messages.BACKEND_FAILED, {**fields, "step": step, "reason": reason, **said})
        self._verbs.count("backend_failures", word, self.backend)
        provoked = self._login is not None and self._login.may_be_too_long  # strangers would close it for everybody
        if self._health is not None and word not in UNTRIED and not provoked:
            self._health.failed(self._peer_ip, reason)

    def _international(self) -> International:
        """What all backends offer that a user's mail may lie on: nobody knows yet on which of them."""
        return self._in_common.offered()

    def _announced_by(self, backend: Backend) -> International:
        known = self._announced.get(backend.id)
        return known.international() if known is not None else NOTHING

    def _is_open_to_all(self, other: Backend | None) -> bool:
        """Whether everybody could have this user's mailbox there: nobody but the backend to which the modules lead him
        has looked at his password yet, and this one, to which he would be led instead, does not.
        """
        home = self._rules.backends.get(self._home)
        if other is None or self._home not in self._rules.blind or looks_at_passwords(other):
            return False
        return home is None or looks_at_passwords(home)

    def _backup_of(self, backend: Backend, vouched: bool) -> str:
        """Where the users of a backend go that takes none; "" for nowhere. A backup's own backup counts for nothing."""
        other = self._rules.backends.get(backend.backup)
        if other is None or other.state != "online" or self._led_to_backup or not self._takes_new(other.id):
            return ""
        if not vouched and self._is_open_to_all(other):
            return ""
        self._led_to_backup = True
        fields: dict[str, object] = {"user": self.user, "backend": backend.id, "backup": other.id}
        self._verbs.note(messages.BACKUP_USED, fields)
        return other.id

    def _takes_new(self, backend: str) -> bool:
        """Whether the operator lets new users in to a backend to which neither he nor a module has led this one."""
        return not self._orders.any or self._orders.verdict(self._asked(backend))[0] == GO_ON

    def _while_down(self, health: HealthKnowledge) -> None:
        """The backend is known to be down, or full: that costs nobody any time."""
        reason, word = health.why_not()
        self._note_backend(CONNECTING.phrase, reason, word)
        self._trouble("backend_failed")

    def _manner(self, backend: Backend) -> list[bytes]:
        """What the client has said of how it is spoken to, for a backend that announces it."""
        offered = self._announced_by(backend)
        lines = [b"UTF8\r\n"] if self._utf8 and offered.utf8 else []
        if self._language and offered.languages:
            lines.append(f"LANG {self._language}\r\n".encode())
        return lines

    def _address(self) -> str:
        """Where the backend failed, for the log: the address that its host name stands for."""
        assert self._backend is not None
        return self._backend.address

    # The client, who may not come in

    def _wrong_login(
        self, why: str, said: Mapping[str, object] = NO_FIELDS, *, code: Code = Code.AUTH, wait: float = 0.0
    ) -> None:
        """The same words and the same code for every reason, and as long a wait, so that nobody learns which users
        exist; but for what a module wants, `code` and `wait`. `said`: what the backend did, for the log.
        """
        verbs = self._verbs
        self._failures += 1
        verbs.note(messages.LOGIN_FAILED, {**self._login_fields(), "why": why, **said})
        verbs.count("login_failures", why, self._rules.vserv)
        self._limits.stays_out(self._row)
        if self._limited and self._limits.guards:
            self._charged = False
            wait = max(wait, self._limits.failed(self._whom(), self._secret_shown()))
        self._secret = self._question = self._led = None
        self._login = None
        if wait > 0:
            self._hold(wait, code)
        else:
            self._try_again(code)

    def _refused(self, decision: RefusedLogin) -> None:
        """A module knows him, and none lets him in: with the code, the words and the pause that it wants."""
        self._words = decision.text
        code = replies.known_code(decision.code.encode()) if decision.code else None
        self._wrong_login("locked" if decision.locked else "password", code=code or Code.AUTH, wait=decision.wait)

    def _asked(self, backend: str) -> AskedLogin:
        """About whom the operator may have ordered something: by the name that he has written, and by his module's."""
        account = self.account()
        return AskedLogin(
            vserv=self._rules.vserv, namespace=self.namespace, user=self.user, backend=backend, account=account
        )

    def account(self) -> str:
        """As whom his module has him, however he has written his name; "": as he has, or nobody has let him in yet."""
        return self._own_limits.account if self._own_limits is not None else ""

    def _secret_shown(self) -> Secret | None:
        """The password or token that was wrong: the same one, tried again, is not counted again."""
        token = self._question.token if self._question is not None else None
        return token.secret if token is not None else self._secret

    def _trouble(self, ending: str, why: str = "unavailable", code: Code = Code.SYS_TEMP) -> None:
        """Not the client's fault: `why` says for the counter whose it is.

        An empty mailbox would make clients forget what they have seen, so it is shown only with `softfail`.
        """
        self._login = None
        self._no_guess()
        self._limits.stays_out(self._row)
        if self._rules.softfail:
            self._verbs.leave_backend()
            self._simulate()
        else:
            self._refuse(ending, why, code)

    def _refuse(self, ending: str, why: str, code: Code) -> None:
        """Ends the session: `ending` is its reason, `why` the counter's word, `code` decides what the client hears."""
        self._no_guess()
        self._verbs.count("login_failures", why, self._rules.vserv)
        self._verbs.send(replies.err(OWN_WORDS[code], code))
        self._end(ending)

    def _may_enter(self) -> bool:
        """Whether no limit keeps out a user whose password is right. Else he is told so; it was no wrong login."""
        limits, own = self._limits, self._own_limits
        if own is None and not (self._limited and (limits.guards or limits.counts)):
            return True
        self._charged = False
        self.counted = True
        hindrance = limits.enter(self._row, self._whom(), own)
        if hindrance is None:
            return True
        self._verbs.leave_backend()
        self._tell_hindrance(hindrance.limit)
        self._try_again(hindrance.code)
        return False

    def _has_own_password(self) -> bool:
        """Whether the client has said a password, and it is the user's, not somebody else's who acts for him."""
        return self._secret is not None and (self._question is None or not self._question.actor)
