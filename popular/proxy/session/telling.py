"""What the machine logs and counts of a login: who opened whose mailbox, which backend failed, and why. It decides
nothing.

The third of the four classes of which the machine is made: behind `authorization.py`, in front of `machine.py`.
"""

from collections.abc import Mapping

from popular import messages
from popular.pdm.chain import Admitted
from popular.protocol.international import NOTHING, International, common
from popular.proxy.session.authorization import Authorization
from popular.proxy.session.known import NO_LIMITS, BackendKnowledge, LoginLimits
from popular.proxy.session.refusals import ENOUGH, Refusals
from popular.proxy.session.rules import Rules
from popular.proxy.session.verbs import Verbs
from popular.proxy.settings.backend import Backend
from supervisor.control.things import OFFLINE

NOTHING_SAID: Mapping[str, object] = {}
"""No fields more, for an entry of the log. (That of `phases.py` are phases.)"""

_UNUSED = (OFFLINE, "fake")
"""States of a backend in which nobody's mail is fetched from it."""


class Teller(Authorization):
    """One session, as far as the operator is told of it."""

    __slots__ = ("_announced", "_backend", "backend", "target")

    def __init__(
        self,
        verbs: Verbs,
        rules: Rules,
        peer: tuple[str, int],
        *,
        announced: Mapping[str, BackendKnowledge],
        limits: LoginLimits = NO_LIMITS,
    ) -> None:
        """`announced`: what all sessions together know of each backend."""
        Authorization.__init__(self, verbs, rules, peer, limits=limits)
        self._announced = announced
        self._backend: Backend | None = None
        """The one with the id `backend`; its address is another one where a route or a referral names a server."""
        self.backend = ""
        self.target = ""

    def _tell_master_login(self, decision: Admitted) -> None:
        """A mailbox is opened by a password that is not its owner's (a master password): that is always logged."""
        route = decision.route
        fields = {"backend": route.backend, "target": route.target or self.user, "module": decision.authenticated_by}
        if self._question is not None and self._question.actor:
            fields["actor"] = self._question.actor
        self._verbs.note(messages.MASTER_LOGIN, {**self._who(), **fields})
        self._verbs.count("master_logins", None, decision.authenticated_by)

    def _who(self) -> dict[str, object]:
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

    def _note_backend(self, step: str, reason: str, word: str, *, said: Mapping[str, object] = NOTHING_SAID) -> None:
        """Logs and counts a failure of the backend. `word`: of backend_login.FAILURES; `said`: more fields."""
        fields: dict[str, object] = {"backend": self.backend, "address": self._address(), "user": self.user}
        self._verbs.note(messages.BACKEND_FAILED, {**fields, "step": step, "reason": reason, **said})
        self._verbs.count("backend_failures", word, self.backend)

    def _international(self) -> International:
        """What all backends offer that a user's mail may lie on: nobody knows yet on which of them."""
        reachable = (backend for backend in self._rules.backends.values() if backend.state not in _UNUSED)
        return common(map(self._announced_by, reachable))

    def _announced_by(self, backend: Backend) -> International:
        known = self._announced.get(backend.id)
        return known.international() if known is not None else NOTHING

    def _address(self) -> str:
        """Where the backend failed, for the log: the address that its host name stands for."""
        assert self._backend is not None
        return self._backend.address
