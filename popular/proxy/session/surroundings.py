"""What the machines of one virtual server have in common under one config."""

from collections.abc import Callable

from popular.proxy.session.backend_runtime import BackendRuntime
from popular.proxy.session.incommon import InCommon, no_clock
from popular.proxy.session.known import NO_LIMITS, LoginLimits, PollMemory
from popular.proxy.session.orders import NO_ORDERS, LoginOrders
from popular.proxy.session.rules import Rules


class Surroundings:
    """Made once, so that a session takes one thing over and not seven."""

    __slots__ = ("backends", "in_common", "limited", "limits", "orders", "polls", "rules")

    def __init__(
        self,
        rules: Rules,
        backends: dict[str, BackendRuntime],
        *,
        limits: LoginLimits = NO_LIMITS,
        orders: LoginOrders = NO_ORDERS,
        polls: PollMemory | None = None,
        limited: bool = True,
        now: Callable[[], float] = no_clock,
    ) -> None:
        """`backends`: all that there are, by their ids. `limited`: whether `limits` are to be asked what they do.
        `orders`: the operator's, beside the config. `polls`: who may answer a login without its backend. `now` tells
        the time in seconds.
        """
        self.rules = rules
        self.backends = backends
        self.in_common = InCommon(backends, now)
        self.limits = limits
        self.orders = orders
        self.polls = polls
        self.limited = limited
