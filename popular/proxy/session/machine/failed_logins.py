"""Who says no, and to whom: what the machine tells a client who may not come in, and the operator, by log and counters,
of a login and of a backend that failed.

    method                 the client hears                    is counted among            ends the session
    _error                 -ERR                                its faulty commands         beyond `maxerrors`
    _wrong_login           `_try_again`, after a pause        login_failures, failures    as `_deny`
    _refused_by_module     `_wrong_login`, by its own words    as that                     as `_deny`
    _refused_for_now       `_try_again`, by its own words      login_failures              no
    _note_hindrance        nothing (→ `_try_again`)            limited, vserv_limited      no
    _hold_back             nothing, until it is over           nothing                     no
    _try_again             -ERR (`_deny`), or a challenge      nothing                     as `_deny`
    _deny                  -ERR                                nothing                     beyond `maxfailures` failures
    _service_failed        `_end_with_err`; with `softfail`    login_failures              yes; with `softfail` no
                           an empty mailbox
    _end_with_err          -ERR                                login_failures              yes
    _rejected              one of these, as the cause is       logins_deferred, or theirs  as they do
    backend_failed         `_service_failed`                   backend_failures            as that

`_error` is in machine_state.py; what ends a session without a word calls `_end` there.
One of the classes of which the machine is made (machine.py lists them). Pure, as they all are.
"""

from collections.abc import Mapping

from popular import messages
from popular.pdm.contract import Secret
from popular.pdm.decision import Admitted, RefusedLogin
from popular.protocol import replies, sasl
from popular.protocol.replies import Code
from popular.proxy.session.backend.backend_login import TLS_STEP, Rejected
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import OURS
from popular.proxy.session.backend.referral import Referral, referral_of
from popular.proxy.session.backend.rejections import (
    DEFERRALS,
    ENOUGH,
    OWN_WORDS,
    Cause,
    UnexplainedRejections,
    cause_of,
    word_of,
)
from popular.proxy.session.machine.client_side import ClientSide
from popular.proxy.session.machine.holds import Hold, ThenRefuse
from popular.proxy.session.machine.phases import CONNECTING, EXCHANGING, GREETED, HELD, LOGGING_IN
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import OF_VSERV

NO_FIELDS: Mapping[str, object] = {}
"""No fields more, for an entry of the log."""

NO_CONNECTION, NO_HANDSHAKE, NO_ANSWER = "no connection in time", "no TLS handshake in time", "no answer in time"
"""What a backend has not done when its time is over."""
NO_TIME = "no answer in what the client had left of authtimeout"
"""That was too little to say anything of the backend: else who is slow on purpose would close it for others."""
UNTRIED = ("maxwaiting", "maxsessions", "down")
"""Labels of failures where the backend was not even asked."""

_STEPS = {
    "connect": CONNECTING.phrase,
    "tls": TLS_STEP,
    NO_CONNECTION: CONNECTING.phrase,
    NO_HANDSHAKE: TLS_STEP,
}
"""Steps of an attempt at a backend beside those of its login, by the word or the reason of the failure."""


class FailedLogins(ClientSide):
    """One session, as far as client and operator are told that a login failed, and by whose fault."""

    __slots__ = ()

    def _tell_master_login(self, decision: Admitted) -> None:
        """A mailbox is opened by a password that is not its owner's (a master password): that is always logged."""
        route = decision.route
        fields = {"backend": route.backend, "target": route.target or self.user, "module": decision.authenticated_by}
        if self._question is not None and self._question.actor:
            fields["actor"] = self._question.actor
        self._verbs.note(messages.MASTER_LOGIN, {**self._login_fields(), **fields})
        self._verbs.count("master_logins", None, decision.authenticated_by)

    def _give_up_proof(self) -> None:
        """The client's proof comes to no login. Where it was told that it holds it knows that the password is right, as
        by a login, and there is none to be seen: so the log has it here.
        """
        assert self._proving is not None
        if self._proving.is_told:
            self._verbs.note(messages.LOGIN_CANCELLED, self._login_fields())
            self._verbs.count("login_failures", "cancelled", self._rules.vserv)
        self._proving = None

    def _login_fields(self) -> dict[str, object]:
        """Fields of the log that say who wants to log in, and from where."""
        fields = {"client": self.peer_ip, "vserv": self._rules.vserv, "namespace": self.namespace}
        return {**fields, "user": self.user, **({"mechanism": self.mechanism} if self.mechanism else {})}

    def account(self) -> str:
        """The user's name as his module spells it; "" if it spells it as he did, or nobody has let him in yet."""
        return self._own_limits.account if self._own_limits is not None else ""

    # A login that fails

    def _wrong_login(
        self, said: Mapping[str, object] = NO_FIELDS, *, label: str, code: Code = Code.AUTH, wait: float = 0.0
    ) -> None:
        """Refuses a login, for every reason with the same words, code and wait, so that nobody learns which users
        exist; but for what a module wants, `code` and `wait`. `label`: of LOGIN_FAILURES, also for the log, as is
        `said`: what the module or the backend did.
        """
        verbs = self._verbs
        self._failures += 1
        verbs.note(messages.LOGIN_FAILED, {**self._login_fields(), "why": label, **said})
        verbs.count("login_failures", label, self._rules.vserv)
        self._around.limits.stays_out(self._row_number)
        if self._around.counts_guesses:
            self._charged = False
            wait = max(wait, self._around.limits.charge_failure(self._whom(), self._secret_shown()))
        left = self._around.times.left_to_refusal(self._asked_at, label) if self._around.times is not None else 0.0
        self._secret = self._question = self._routing = self._dialogue = None
        if wait + left > 0:
            self._hold_back(wait + left, ThenRefuse(code), left)
        else:
            self._try_again(code)

    def _refused_by_module(self, decision: RefusedLogin) -> None:
        """A module knows him, and none lets him in: with the code, the words and the pause that it wants."""
        self._words = decision.text
        code = replies.known_code(decision.code.encode()) if decision.code else None
        if code is not None and code in replies.OF_THE_SERVER:
            self._refused_for_now(decision, code)
            return
        said = {"reason": f"{decision.identified_by}: {decision.reason}"} if decision.reason else NO_FIELDS
        label = "locked" if decision.locked else "password"
        self._wrong_login(said, label=label, code=code or Code.AUTH, wait=decision.wait)

    def _refused_for_now(self, decision: RefusedLogin, code: Code) -> None:
        """The module has answered, and of the password it says nothing: that is no wrong login."""
        why = decision.reason or decision.text or decision.code
        verbs, limits = self._verbs, self._around.limits
        verbs.note(messages.MODULE_FAILED, {"user": self.user, "reason": f"{decision.identified_by}: {why}"})
        verbs.count("login_failures", "module", self._rules.vserv)
        self._give_guess_back()
        limits.stays_out(self._row_number)
        self._secret = self._question = self._routing = self._dialogue = None
        if decision.wait > 0:
            self._hold_back(decision.wait, ThenRefuse(code))
        else:
            self._try_again(code)

    def _secret_shown(self) -> Secret | None:
        """The password or token that was wrong: the same one, tried again, is not counted again."""
        token = self._question.token if self._question is not None else None
        return token.secret if token is not None else self._secret

    def _service_failed(self, ending: str, *, label: str = "unavailable", code: Code = Code.SYS_TEMP) -> None:
        """Not the client's fault; `label`, of LOGIN_FAILURES, says whose.

        An empty mailbox would make clients forget what they have seen, so it is shown only with `softfail`.
        """
        self._give_guess_back()
        self._around.limits.stays_out(self._row_number)
        if self._rules.softfail:
            self._verbs.leave_backend()
            self._simulate()
        else:
            self._end_with_err(ending, label=label, code=code)

    def _end_with_err(self, ending: str, *, label: str = "unavailable", code: Code = Code.SYS_TEMP) -> None:
        """Ends the session, for the reason `ending`; `code` decides what the client hears."""
        self._give_guess_back()
        self._verbs.count("login_failures", label, self._rules.vserv)
        self._verbs.send(replies.err(OWN_WORDS[code], code))
        self._end(ending)

    def _has_own_password(self) -> bool:
        """Whether the client has said a password, and it is the user's, not somebody else's who acts for him."""
        return self._secret is not None and (self._question is None or not self._question.actor)

    # The client, who waits and tries again

    def _note_hindrance(self, limit: str) -> None:
        """A limit keeps him out for now; that is no wrong login."""
        rules = self._rules
        fields: dict[str, object] = {"client": self.peer_ip, "vserv": rules.vserv, "namespace": self.namespace}
        self._verbs.note(messages.LOGIN_LIMITED, {**fields, "user": self.user, "limit": limit})
        self._verbs.count("limited", limit, "")
        if limit in OF_VSERV:
            self._verbs.count("vserv_limited", limit, rules.vserv)

    def _hold_back(self, seconds: float, hold: Hold, at_least: float = 0.0) -> None:
        self._hold = hold
        self._move(HELD)
        self._verbs.hold(seconds, at_least)

    def _try_again(self, code: Code) -> None:
        """Refused; the client may log in anew. With a mechanism that has a `refusal` (tokens) it is sent that as one
        more challenge, and the -ERR only when it has answered (`_response`).
        """
        exchange, refusal = self._exchange, b""
        if exchange is not None and code is Code.AUTH and self.phase is not LOGGING_IN:
            refusal = exchange.mechanism.refusal
        self._forget()
        if refusal:
            self._move(EXCHANGING)
            self._denied = code
            self._verbs.send(sasl.encoded(refusal))
        else:
            self._move(GREETED)
            self._deny(code)
        self._answer_lines()

    def _deny(self, code: Code) -> None:
        """Sends the -ERR. After `maxfailures` wrong logins the session ends with it."""
        self._verbs.send(replies.err(self._words or OWN_WORDS[code], code))
        self._words = ""
        if self._failures >= self._rules.maxfailures:
            self._end("too_many_failures")

    def _whom(self) -> Who:
        """Whom limits are asked about."""
        return Who(self.peer_ip, self.namespace, self.user)

    def _give_guess_back(self) -> None:
        """Nobody could tell whether the password is right: what was charged for a guess is given back."""
        if self._charged:
            self._charged = False
            self._around.limits.give_guess_back(self._whom())

    # A backend that rejects, or fails

    def _rejected(self, rejected: Rejected) -> None:
        """The backend's words go to the log; the client gets its response code and ours, which tell strangers
        nothing.
        """
        assert self._backend is not None
        if rejected.of_login and (referral := referral_of(rejected.reply)) is not None:
            self._refer(referral, rejected.step, self._backend)
            return
        code = replies.known_code(rejected.code)
        of_user = not self._password_is_ours
        cause = cause_of(rejected, code, in_clear=self._backend.in_clear, of_user=of_user, user=self.target)
        reply = rejected.reply.decode("utf-8", "replace")
        said = {"code": (rejected.code or b"").decode("utf-8", "replace")}
        if cause is Cause.BACKEND or cause is Cause.TLS:
            self._note_backend(rejected.step, reply, label=word_of(rejected, code, cause), said=said)
            self._service_failed("backend_failed", code=Code.SYS_PERM if code is Code.SYS_PERM else Code.SYS_TEMP)
            return
        self._verbs.leave_backend()
        if self._health is not None:
            self._health.answered(self.peer_ip)
        said |= {"backend": self.backend_id, "reply": reply}
        if cause is Cause.MAILBOX:
            assert code is not None
            self._verbs.note(messages.LOGIN_DEFERRED, {**self._login_fields(), **said})
            self._verbs.count("logins_deferred", DEFERRALS[code], self.backend_id)
            self._give_guess_back()
            self._around.limits.stays_out(self._row_number)
            self._try_again(code)
            return
        if cause is Cause.USER_UNSAID and self._rejections is not None:
            self._doubt(self._rejections, rejected.step, reply)
        self._wrong_login(said, label="backend")

    def backend_failed(self, reason: str, word: str) -> None:
        """The backend is not reachable, went away, or talks nonsense, before the two were joined.

        `word` is for the counter (backend_login.FAILURES), or "" where the phase tells it, or OURS.
        """
        dialogue = self._dialogue
        assert dialogue is not None
        if dialogue.rejection is not None:
            self._rejected(dialogue.rejection)
            return
        if word == OURS:
            fields: dict[str, object] = {"user": self.user, "step": self.phase.phrase, "reason": reason}
            self._verbs.note(messages.NO_RESOURCES, fields)
            self._service_failed("no_resources", label="resources")
            return
        label = word or ("connect" if self.phase is CONNECTING else "closed")
        self._note_backend(_STEPS.get(label) or _STEPS.get(reason) or dialogue.step, reason, label=label)
        if dialogue.ahead and reason != NO_TIME:
            self._mistrust(dialogue.step, reason)
        self._service_failed("backend_failed")

    def _doubt(self, rejections: UnexplainedRejections, step: str, reply: str) -> None:
        """The backend rejects a user and does not say why: his wrong password, or does it reject everybody?
        If it does, this counts as a failure of the backend too, and is logged once.
        """
        was = rejections.of_everybody
        rejections.rejected(self.target)
        if not rejections.of_everybody:
            return
        if was:
            self._count_failure("everybody")
        else:
            reason = f"it refused {ENOUGH} users in a row and does not say why: {reply}"
            self._note_backend(step, reason, label="everybody")

    def _mistrust(self, step: str, reason: str) -> None:
        """The backend did not answer as it should to USER and PASS in one piece: for a while it gets them singly."""
        known = self._backend.announced if self._backend is not None else None
        if known is not None and known.mistrust():
            self._verbs.note(messages.NOT_PIPELINED, {**self._where(), "step": step, "reason": reason})

    def _note_backend(self, step: str, reason: str, *, label: str, said: Mapping[str, object] = NO_FIELDS) -> None:
        """Logs and counts a failure of the backend, which is the less well for it. `label`: of backend_login.FAILURES;
        `said`: more fields.
        """
        self._tell_failure(step, reason, label=label, said=said)
        dialogue = self._dialogue
        provoked = dialogue is not None and dialogue.may_be_too_long  # strangers would close it for everybody
        if self._health is not None and label not in UNTRIED and reason != NO_TIME and not provoked:
            named = self.phase is LOGGING_IN and dialogue is not None and dialogue.names_user
            self._health.failed(self.peer_ip, reason, user=self.target if named else "")

    def _tell_failure(self, step: str, reason: str, *, label: str, said: Mapping[str, object] = NO_FIELDS) -> None:
        fields: dict[str, object] = {**self._where(), "user": self.user, "step": step}
        self._verbs.note(messages.BACKEND_FAILED, {**fields, "reason": reason, **said})
        self._count_failure(label)

    def _count_failure(self, label: str) -> None:
        """And whom it turns away, who counts once for as long as it goes on."""
        self._verbs.count("backend_failures", label, self.backend_id)
        assert self._backend is not None
        if self._backend.note_affected is not None:
            self._backend.note_affected(self.namespace, self.account() or self.user)

    def _where(self) -> dict[str, object]:
        """Which backend failed, for the log, and the address at which it was, or all at which it could have been."""
        assert self._backend is not None
        return {"backend": self.backend_id, "address": ",".join(self._backend.settings.addresses)}

    def _refer(self, referral: Referral, step: str, said_by: BackendRuntime) -> None:
        """`BackendSide._refer`: the user is logged in elsewhere, as a backend says."""
        raise NotImplementedError
