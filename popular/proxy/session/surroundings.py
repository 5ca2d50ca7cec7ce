"""What the pure machine may ask: rules, limits, orders, and what is known of the backends.

One value for all machines of one virtual server under one config. The session's counterpart, with sockets and counters,
is VservRuntime (runtime.py), which makes it.
"""

from collections.abc import Callable, Mapping

from popular.proxy.session.incommon import InCommon, no_clock
from popular.proxy.session.known import (
    ALL_WELL,
    NO_LIMITS,
    BackendKnowledge,
    HealthKnowledge,
    LoginLimits,
    PollMemory,
)
from popular.proxy.session.orders import NO_ORDERS, LoginOrders
from popular.proxy.session.refusals import Refusals
from popular.proxy.session.rules import Rules


class Surroundings:
    """What the machines of one virtual server ask under one config: one value, so that a machine is not given nine."""

    __slots__ = ("announced", "health", "in_common", "limited", "limits", "orders", "polls", "refusals", "rules")

    def __init__(
        self,
        rules: Rules,
        *,
        refusals: Mapping[str, Refusals],
        announced: Mapping[str, BackendKnowledge],
        health: Mapping[str, HealthKnowledge] = ALL_WELL,
        limits: LoginLimits = NO_LIMITS,
        orders: LoginOrders = NO_ORDERS,
        polls: PollMemory | None = None,
        limited: bool = True,
        now: Callable[[], float] = no_clock,
    ) -> None:
        """What all sessions together know of each backend: `refusals`, what it has `announced`, its `health`.
        `limited`: whether `limits` are to be asked what they do. `orders`: the operator's, beside the config. `polls`:
        who may answer a login without its backend. `now` tells the time in seconds.
        """
        self.rules = rules
        self.refusals = refusals
        self.announced = announced
        self.in_common = InCommon(rules.backends, announced, now)
        self.health = health
        self.limits = limits
        self.orders = orders
        self.polls = polls
        self.limited = limited
