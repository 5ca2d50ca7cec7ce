"""What would become of a login: the worker's part of the command `explain`.

The session is played on the machine itself (rehearsal.py), so what is predicted is what would be done. What the modules
say: answers.py.
"""

from collections.abc import Sequence
from typing import Any

from popular.pdm.contract import (
    CannotTell,
    Question,
    UserLimits,
)
from popular.pdm.decision import Admitted, Decision, RefusedLogin, ToProve
from popular.protocol.replies import OF_THE_SERVER, known_code
from popular.proxy.leases import HeldInCluster
from popular.proxy.session.backend.contracts import HealthKnowledge
from popular.proxy.session.explain.answers import ANY_PASSWORD, ModulesSaid, asked, looked_up
from popular.proxy.session.explain.dialogues import DIALOGUES
from popular.proxy.session.explain.foretold import ForetoldLimits, SupposedPolls, ToldOrders, foretold
from popular.proxy.session.explain.rehearsal import ASK, CHECK_MAIL, CONNECT, RELAY, PlayedVerbs, Rehearsal
from popular.proxy.session.limits.limit_entries import account_of
from popular.proxy.session.limits.limit_usage import limit_usages
from popular.proxy.session.rules import Rules
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.who import PollMemory, Who
from popular.proxy.settings.explain import LoginToExplain
from popular.proxy.settings.vserv import POP3S
from supervisor.control.commands.things import OFFLINE
from supervisor.runtime.messages import Message
from supervisor.system import wall

NO_EMPTY_POLL, EMPTY_POLL = SupposedPolls(empty=False), SupposedPolls(empty=True)


class _CountedVerbs(PlayedVerbs):
    """With a password it is an attempt: what a login that fails would log and count is logged and counted."""

    def __init__(self, runtime: VservRuntime, sid: str, *, blocked: bool) -> None:
        super().__init__(sid, blocked=blocked)
        self._runtime = runtime

    def note(self, message: Message, fields: dict[str, object]) -> None:
        self._runtime.context.log(message, self.sid, **fields)

    def count(self, counter: str, label: str | None, ident: str) -> None:
        if counter not in ("simulated", "absorbed"):  # nobody sees a mailbox
            self._runtime.counters.count_one(counter, label, ident)


class Explanation:
    """What would become of one login, under one config."""

    def __init__(self, runtime: VservRuntime, login: LoginToExplain) -> None:
        self._runtime = runtime
        self._rules: Rules = runtime.rules
        self._login = login
        self._user = login.user.encode("utf-8", "surrogateescape")
        self._sid = runtime.context.session_id(runtime.sidprefix, wall())
        self._blocked = runtime.limits.blocks(login.client_ip)
        self._elsewhere: HeldInCluster | None = None
        self._orders = ToldOrders(runtime.orders)

    async def made(self) -> dict[str, Any]:
        """Plays the login, and gives the explanation as JSON has it."""
        rules, login, times = self._rules, self._login, self._runtime.around.times
        data: dict[str, Any] = {
            "user": login.user,
            "namespace": "",
            "from": login.client_ip,
            "vserv": rules.vserv,
            "protocol": rules.protocol,
            "state": rules.state,
            "mechanism": login.mechanism,
            "worker": self._runtime.context.pid,
            "clear": self._in_clear(),
            "limits": [],
            "held": 0.0,
            "refusal_seconds": times.of_refusals() if times is not None else 0.0,
            "modules": [],
            "decision": "",
            "identified_by": "",
            "account": "",
            "ordered": [],
            "backend": None,
            "mail_check": False,
            "absorbed": False,
            "replies": {},
            "reply": "",
            "certain": True,
            "otherwise": [],
        }
        if rules.state == OFFLINE:
            return data
        attempt = None if login.password is None else _CountedVerbs(self._runtime, self._sid, blocked=self._blocked)
        played = self._played(attempt, NO_EMPTY_POLL if attempt is None else self._runtime.absorber)
        own = None
        if played.verbs.waits == ASK:
            assert played.verbs.question is not None
            heard = await self._hear(played.verbs.question)
            decided = [heard.decision]
            await self._ask_cluster(played, heard.decision)
            played.decided(heard.decision)
            while played.verbs.waits == ASK:  # the server behind a module tries the client's proof
                heard = heard.followed_by(await self._hear(played.verbs.question))
                decided.append(heard.decision)
                await self._ask_cluster(played, heard.decision)
                played.decided(heard.decision)
            data |= {"modules": heard.rows, "certain": heard.certain, "decision": _decided(heard.decision, rules)}
            data["ordered"] = self._orders.told()
            data["identified_by"] = getattr(heard.decision, "identified_by", "")
            own = heard.decision.limits if isinstance(heard.decision, (Admitted, ToProve)) else None
            data["account"] = own.account if own is not None else ""
            data["mail_check"] = played.verbs.waits == CHECK_MAIL
            data["absorbed"] = played.machine.absorbed
            data["backend"], why = self._backend(played)
            if why is not None:
                played.fails(*why)
            if played.verbs.waits:
                data["otherwise"] = self._otherwise(played.verbs.waits, decided)
                self._goes_well(played)
        data["namespace"] = played.machine.namespace
        data["limits"] = self._limits(played, own)
        data["held"] = round(played.verbs.held, 3)
        data["replies"] = played.replies
        data["reply"] = None if played.verbs.waits == RELAY else played.reply
        return data

    # The client

    def _rehearsal(
        self, attempt: _CountedVerbs | None = None, polls: PollMemory = NO_EMPTY_POLL, *, takes_few: bool = False
    ) -> Rehearsal:
        limits = ForetoldLimits(self._runtime.limits, attempt is not None, elsewhere=lambda: self._elsewhere)
        verbs = PlayedVerbs(self._sid, blocked=self._blocked) if attempt is None else attempt
        backends = {ident: foretold(one, takes_few) for ident, one in self._runtime.around.backend_runtimes.items()}
        client, orders = (self._login.client_ip, 0), self._orders
        return Rehearsal(self._rules, client, verbs, backends=backends, limits=limits, orders=orders, polls=polls)

    def _played(
        self, attempt: _CountedVerbs | None = None, polls: PollMemory = NO_EMPTY_POLL, *, takes_few: bool = False
    ) -> Rehearsal:
        played = self._rehearsal(attempt, polls, takes_few=takes_few)
        password = self._login.password
        played.log_in(self._login.mechanism, self._user, ANY_PASSWORD if password is None else password)
        return played

    def _in_clear(self) -> str:
        rules = self._rules
        if rules.protocol == POP3S:
            return "never: TLS is there from the start"
        mechanism = self._login.mechanism
        if rules.state != OFFLINE and (rules.starttls == "force" or DIALOGUES[mechanism].in_tls):
            heard = self._rehearsal().in_clear(mechanism, self._user)
            if not heard.startswith("+"):
                return f"refused: {heard}"
        return "allowed, TLS is not offered" if rules.starttls == "off" else "allowed, TLS is offered"

    def _limits(self, played: Rehearsal, own: UserLimits | None) -> list[dict[str, Any]]:
        """How he stands with each limit now."""
        who = Who(self._login.client_ip, played.machine.namespace, played.machine.user)
        return [
            {
                "limit": one.limit,
                "mode": one.mode,
                "count": round(one.now, 3),
                "most": one.most,
                "seconds": round(one.wait, 3),
                "code": None if one.code is None else one.code.value,
            }
            for one in limit_usages(self._runtime.limits.entries, who, own, elsewhere=self._elsewhere)
        ]

    async def _ask_cluster(self, played: Rehearsal, decision: Decision) -> None:
        """A login would ask it for a lease; here nothing is taken."""
        limits, machine = self._runtime.limits, played.machine
        if limits.cluster is not None and isinstance(decision, Admitted) and limits.needs_lease(decision.limits):
            user = account_of(Who(self._login.client_ip, machine.namespace, machine.user), decision.limits)
            self._elsewhere = await limits.cluster.look(machine.namespace, user)

    # The modules

    async def _hear(self, question: Question) -> ModulesSaid:
        modules = self._runtime.modules
        if self._login.password is None:
            return await looked_up(modules, question)
        return await asked(modules, question, not self._rules.fallback, sid=self._sid)

    # The backend

    def _backend(self, played: Rehearsal) -> tuple[dict[str, Any] | None, tuple[str, str] | None]:
        """What it is, and why it would not even be tried: too many wait for it, or are at it."""
        ident = played.machine.backend_id
        if not ident:
            return None, None
        backend = played.verbs.backend or self._rules.backends.get(ident)
        if backend is None:
            return {"id": ident, "state": None}, None
        admission = self._runtime.around.backend_runtimes[ident].admission
        assert admission is not None, "who serves counts who waits"
        about = {name: getattr(backend, name) for name in ("id", "state", "prot", "tls", "address", "port")}
        about |= {"address": ",".join(backend.addresses), "target": played.machine.target}
        about |= {"waiting": admission.length(), "health": _health(self._runtime.around.backend_runtimes[ident].health)}
        return about, admission.hindrance() if played.verbs.waits else None

    def _otherwise(self, waits: str, decided: Sequence[Decision]) -> list[dict[str, Any]]:
        """What the client would hear where it depends on what only a real login can tell."""
        told: list[dict[str, Any]] = []
        if waits == CHECK_MAIL:
            played = self._decided(decided)
            played.no_mail()
            told.append({"if": "there is no mail", "reply": played.reply})
        if waits == CONNECT and self._login.password is None:
            played = self._decided(decided, EMPTY_POLL)
            if played.machine.absorbed:
                told.append({"if": "by this password the mailbox was empty a moment ago", "reply": played.reply})
        played = self._decided(decided)
        if waits == CHECK_MAIL:
            played.mail()
        played.fails("it cannot be reached", "connect")
        told.append({"if": "the backend cannot be reached", "reply": played.reply})
        health = self._runtime.around.backend_runtimes[played.machine.backend_id].health
        if health is not None and health.is_mending():
            played = self._decided(decided, takes_few=True)
            self._goes_well(played)
            reply = None if played.verbs.waits == RELAY else played.reply
            told.append({"if": "he is not among those whom it takes already", "reply": reply})
        return told

    @staticmethod
    def _goes_well(played: Rehearsal) -> None:
        """Plays on as if there were mail and the backend let him in."""
        if played.verbs.waits == CHECK_MAIL:
            played.mail()
        played.lets_in()

    def _decided(
        self, decided: Sequence[Decision], polls: PollMemory = NO_EMPTY_POLL, *, takes_few: bool = False
    ) -> Rehearsal:
        """`takes_few`: a backend that recovers lets others through, not him."""
        played = self._played(None, polls, takes_few=takes_few)
        for decision in decided:
            played.decided(decision)
        return played


def _health(health: HealthKnowledge | None) -> str:
    """How well a backend is, with since when and why; "" if it is well."""
    return health.says() if health is not None and (health.is_down() or health.is_mending()) else ""


def _decided(decision: Decision, rules: Rules) -> str:
    """What the modules have come to, in words."""
    match decision:
        case Admitted(vouched=True):
            return f"{decision.authenticated_by} vouches for him, whom {decision.identified_by} knows"
        case Admitted():
            return f"{decision.identified_by} lets him in"
        case ToProve(locked=True):
            return f"{decision.identified_by} knows him, and he is locked"
        case ToProve():
            return f"{decision.identified_by} has keys of him, by which he has to prove that he has the password"
        case RefusedLogin(locked=True):
            return f"{decision.identified_by} knows him, and he is locked"
        case RefusedLogin() if known_code(decision.code.encode()) in OF_THE_SERVER:
            return f"{decision.identified_by} lets nobody in for now: {decision.text or decision.code}"
        case RefusedLogin():
            return f"{decision.identified_by} knows him, and the password is wrong"
        case CannotTell():
            return f"nobody can tell: {decision.reason}"
        case _:
            return f"nobody knows him; {rules.fallback} is the fallback" if rules.fallback else "nobody knows him"
