"""Limits, orders, the health of backends and what is remembered of empty mailboxes, as `explain` has them.

It is what they would say of a login, which is not counted.
"""

from collections.abc import Callable, Sequence
from typing import Any

from popular.pdm.contract import Secret, UserLimits
from popular.proxy.leases import HeldInCluster
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.contracts import NOT_NOW, WELCOME, BackendFailure, HealthKnowledge
from popular.proxy.session.limits.contracts import Hindrance
from popular.proxy.session.limits.limit_usage import LimitUsage, limit_usages
from popular.proxy.session.limits.limits import Limits
from popular.proxy.session.limits.login_orders import AskedLogin, LoginOrders
from popular.proxy.session.who import Poll, Who
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.limits import AUTHDELAY, ENFORCE, GUESSRATE
from popular.proxy.settings.order_sorts import iso
from supervisor.operatorstate import OrderEntry


class ForetoldLimits:
    """LoginLimits of a session that is only played. `attempt`: there is a password to be tried, and a wrong one counts
    as in any login. Nobody comes in, so no session is counted.
    """

    def __init__(self, limits: Limits, attempt: bool, *, elsewhere: Callable[[], HeldInCluster | None]) -> None:
        """`elsewhere`: what the cluster counts of him, once it was asked."""
        self._limits = limits
        self._attempt = attempt
        self._elsewhere = elsewhere
        self.counts_guesses = limits.counts_guesses
        self.counts_sessions = limits.counts_sessions

    def charge_guess(self, who: Who) -> tuple[float, Hindrance | None]:
        if self._attempt:
            return self._limits.charge_guess(who)
        usage = self._usage(GUESSRATE, who)
        if usage.mode != ENFORCE:
            return 0.0, None
        return usage.wait, None if usage.code is None else Hindrance(GUESSRATE, usage.code)

    def give_guess_back(self, who: Who) -> None:
        if self._attempt:
            self._limits.give_guess_back(who)

    def charge_failure(self, who: Who, secret: Secret | None) -> float:
        if self._attempt:
            return self._limits.charge_failure(who, secret)
        usage = self._usage(AUTHDELAY, who)
        return usage.wait if usage.mode == ENFORCE else 0.0

    def comes_in(self, row_number: int, who: Who, own: UserLimits | None) -> Hindrance | None:
        """Counts nothing: tells the first limit in force that is reached."""
        del row_number
        self.give_guess_back(who)
        for usage in limit_usages(self._limits.entries, who, own, elsewhere=self._elsewhere()):
            if usage.limit not in (AUTHDELAY, GUESSRATE) and usage.mode == ENFORCE and usage.code is not None:
                return Hindrance(usage.limit, usage.code)
        return None

    def stays_out(self, row_number: int) -> None:
        """Nothing to give back: nothing was counted."""

    def _usage(self, limit: str, who: Who) -> LimitUsage:
        return next(one for one in limit_usages(self._limits.entries, who) if one.limit == limit)


class ToldOrders:
    """What the operator has ordered, for a session that is only played: it tells what a login would heed."""

    def __init__(self, orders: LoginOrders) -> None:
        self._orders = orders
        self._heeded: dict[tuple[str, str], dict[str, Any]] = {}
        self.any = orders.any

    def told(self) -> list[dict[str, Any]]:
        """What was heeded so far, as JSON has it."""
        return list(self._heeded.values())

    def routed(self, asking: AskedLogin) -> AskedLogin:
        """As it is."""
        return self._orders.routed(asking)

    def heeded(self, asking: AskedLogin) -> Sequence[tuple[str, OrderEntry]]:
        """As it is."""
        return self._orders.heeded(asking)

    def verdict(self, asking: AskedLogin) -> tuple[str, float]:
        """As it is."""
        for what, (sort, ident, value) in self.heeded(asking):
            said = value or {}
            moments = {name: iso(said.get(name)) for name in ("since", "until")}
            self._heeded[sort, ident] = {"order": sort, "id": ident, "does": what, "to": said.get("to"), **moments}
        return self._orders.verdict(asking)


class ForetoldHealth(HealthKnowledge):
    """How well a backend is, for a session that is only played: it is let through for nothing, and nothing fails."""

    def __init__(self, health: HealthKnowledge, takes_few: bool) -> None:
        """`takes_few`: while it recovers others are let through, and not this session."""
        self._health = health
        self._takes_few = takes_few

    def takes(self, address: str) -> int:
        """Whether the backend would take this login; where it recovers `takes_few` decides."""
        del address
        health = self._health
        return NOT_NOW if health.is_down() or (self._takes_few and health.is_mending()) else WELCOME

    def failed(self, address: str, reason: str, *, user: str) -> None:
        """Notes nothing: a login that is only played has not failed."""

    def answered(self, address: str) -> None:
        """Notes nothing: the backend was not asked."""

    def came_to_nothing(self, address: str) -> None:
        """Nothing to give back: `takes` has let nobody through."""

    def is_down(self) -> bool:
        """As it is."""
        return self._health.is_down()

    def is_mending(self) -> bool:
        """As it is."""
        return self._health.is_mending()

    def why_not(self) -> BackendFailure:
        """As it is."""
        return self._health.why_not()

    def says(self) -> str:
        """As it is."""
        return self._health.says()


def foretold(backend: BackendRuntime, takes_few: bool) -> BackendRuntime:
    """A backend of which nothing is known but how well it is."""
    health = None if backend.health is None else ForetoldHealth(backend.health, takes_few)
    return BackendRuntime(backend.settings, (backend.connect_seconds, backend.login_seconds), health=health)


class SupposedPolls:
    """PollMemory where the password is not known, by which polls are: all are as is supposed."""

    def __init__(self, *, empty: bool) -> None:
        self._empty = empty

    def poll_of(self, who: Who, secret: Secret, backend: Backend, *, target: str) -> Poll:
        del who, secret, target
        return Poll(0, 0, at=0.0, seconds=backend.absorb)

    def is_empty(self, poll: Poll) -> bool:
        del poll
        return self._empty
