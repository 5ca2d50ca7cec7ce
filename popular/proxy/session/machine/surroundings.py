"""What the pure machine may ask: rules, limits, orders, and what is known of the backends.

One value for all machines of one virtual server under one config. The session's counterpart, with sockets and counters,
is VservRuntime (runtime.py), which makes it.
"""

from collections.abc import Callable

from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.incommon import InCommon, no_clock
from popular.proxy.session.limits.contracts import NO_LIMITS, LoginLimits
from popular.proxy.session.limits.login_orders import NO_ORDERS, LoginOrders
from popular.proxy.session.limits.refusal_times import RefusalTimes
from popular.proxy.session.rules import Rules
from popular.proxy.session.who import PollMemory


class Surroundings:
    """What the machines of one virtual server ask under one config: one value, so that a machine is not given seven."""

    __slots__ = (
        "backend_runtimes",
        "counts_guesses",
        "counts_sessions",
        "in_common",
        "limits",
        "orders",
        "polls",
        "rules",
        "times",
    )

    def __init__(
        self,
        rules: Rules,
        backend_runtimes: dict[str, BackendRuntime],
        *,
        limits: LoginLimits = NO_LIMITS,
        orders: LoginOrders = NO_ORDERS,
        polls: PollMemory | None = None,
        times: RefusalTimes | None = None,
        now: Callable[[], float] = no_clock,
    ) -> None:
        """`backend_runtimes`: all backends that there are, by their ids. `orders`: the operator's, beside the config.
        `polls`: who may answer a login without its backend. `times`: None where refusals take as long as they take.
        `now` tells the time in seconds.
        """
        self.rules = rules
        self.backend_runtimes = backend_runtimes
        self.in_common = InCommon(backend_runtimes, now)
        self.limits = limits
        self.counts_guesses, self.counts_sessions = limits.counts_guesses, limits.counts_sessions
        """What the limits do, here as numbers of C: each login looks at it."""
        self.orders = orders
        self.polls = polls
        self.times = times
