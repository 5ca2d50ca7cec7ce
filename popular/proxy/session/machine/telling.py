"""What the machine says of a login: to log and counters, who opened whose mailbox and whose login failed; and to a
client who may not come in, that he may not.

The fourth of the six classes of which the machine is made: behind `exchanges.py`, in front of `backend_side.py`.
"""

from collections.abc import Mapping

from popular import messages
from popular.pdm.chain import Admitted, RefusedLogin
from popular.pdm.contract import Secret, UserLimits
from popular.protocol import replies
from popular.protocol.replies import Code
from popular.proxy.session.backend.backend_login import BackendLogin
from popular.proxy.session.backend.refusals import OWN_WORDS
from popular.proxy.session.machine.exchanges import Exchanges
from popular.proxy.session.machine.holds import RefuseBehind
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.machine.verbs import Verbs

NO_FIELDS: Mapping[str, object] = {}
"""No fields more, for an entry of the log."""


class Teller(Exchanges):
    """One session, as far as operator and client are told how the login went."""

    __slots__ = ("_dialogue", "_own_limits", "_row_number", "backend_id", "target")

    def _set_up(self, verbs: Verbs, around: Surroundings, peer: tuple[str, int]) -> None:
        Exchanges._set_up(self, verbs, around, peer)
        self._row_number = self._verbs.row_number
        self._own_limits: UserLimits | None = None
        self._dialogue: BackendLogin | None = None
        """The dialogue with the backend. Holds a password, so it is let go of as soon as it has done its work."""
        self.backend_id = ""
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
        fields = {"client": self.peer_ip, "vserv": self._rules.vserv, "namespace": self.namespace}
        return {**fields, "user": self.user, **({"mechanism": self.mechanism} if self.mechanism else {})}

    def account(self) -> str:
        """The user's name as his module spells it; "" if it spells it as he did, or nobody has let him in yet."""
        return self._own_limits.account if self._own_limits is not None else ""

    # The client, who may not come in

    def _wrong_login(
        self, said: Mapping[str, object] = NO_FIELDS, *, label: str, code: Code = Code.AUTH, wait: float = 0.0
    ) -> None:
        """Refuses a login, for every reason with the same words, code and wait, so that nobody learns which users
        exist; but for what a module wants, `code` and `wait`. `label`: of LOGIN_FAILURES, also for
        the log, as is `said`: what the module or the backend did.
        """
        verbs = self._verbs
        self._failures += 1
        verbs.note(messages.LOGIN_FAILED, {**self._login_fields(), "why": label, **said})
        verbs.count("login_failures", label, self._rules.vserv)
        self._around.limits.stays_out(self._row_number)
        if self._around.guards:
            self._charged = False
            wait = max(wait, self._around.limits.failed(self._whom(), self._secret_shown()))
        left = self._around.times.left_to_refusal(self._asked_at, label) if self._around.times is not None else 0.0
        self._secret = self._question = self._routing = None
        self._dialogue = None
        if wait + left > 0:
            self._hold_back(wait + left, RefuseBehind(code), left)
        else:
            self._try_again(code)

    def _refused_by_module(self, decision: RefusedLogin) -> None:
        """A module knows him, and none lets him in: with the code, the words and the pause that it wants."""
        self._words = decision.text
        code = replies.known_code(decision.code.encode()) if decision.code else None
        said = {"reason": f"{decision.identified_by}: {decision.reason}"} if decision.reason else NO_FIELDS
        label = "locked" if decision.locked else "password"
        self._wrong_login(said, label=label, code=code or Code.AUTH, wait=decision.wait)

    def _secret_shown(self) -> Secret | None:
        """The password or token that was wrong: the same one, tried again, is not counted again."""
        token = self._question.token if self._question is not None else None
        return token.secret if token is not None else self._secret

    def _service_failed(self, ending: str, *, label: str = "unavailable", code: Code = Code.SYS_TEMP) -> None:
        """Not the client's fault; `label`, of LOGIN_FAILURES, says whose.

        An empty mailbox would make clients forget what they have seen, so it is shown only with `softfail`.
        """
        self._dialogue = None
        self._no_guess()
        self._around.limits.stays_out(self._row_number)
        if self._rules.softfail:
            self._verbs.leave_backend()
            self._simulate()
        else:
            self._end_with_err(ending, label=label, code=code)

    def _end_with_err(self, ending: str, *, label: str = "unavailable", code: Code = Code.SYS_TEMP) -> None:
        """Ends the session, for the reason `ending`; `code` decides what the client hears."""
        self._no_guess()
        self._verbs.count("login_failures", label, self._rules.vserv)
        self._verbs.send(replies.err(OWN_WORDS[code], code))
        self._end(ending)

    def _has_own_password(self) -> bool:
        """Whether the client has said a password, and it is the user's, not somebody else's who acts for him."""
        return self._secret is not None and (self._question is None or not self._question.actor)
