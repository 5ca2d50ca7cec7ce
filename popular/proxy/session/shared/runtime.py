"""What the sessions of one virtual server need beside their machines, under one config: modules, TLS, times, counters.

What the pure machine may ask is in `around` (surroundings.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from popular.net.splice import Pipes
from popular.proxy.backend_tls import BackendsInTls
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.limits.limits import Limits
from popular.proxy.session.limits.login_orders import WorkerOrders
from popular.proxy.session.limits.refusal_times import RefusalTimes
from popular.proxy.session.machine.surroundings import Surroundings
from popular.proxy.session.rules import Rules
from popular.proxy.session.shared.absorber import Absorber
from popular.proxy.session.shared.module_chain import ModuleChain
from popular.proxy.session.shared.reports import Reporter
from popular.tls.contexts import TlsSettings
from supervisor.serving.context import WorkerContext
from supervisor.serving.counters import Counters
from supervisor.serving.refcount import RefCount
from supervisor.system import Observer


class VservRuntime:
    """Made by the service once for each virtual server. A session keeps the one under which it was accepted."""

    __slots__ = (
        "absorber",
        "around",
        "authtimeout",
        "backend_tls",
        "blocked",
        "checkport",
        "context",
        "counters",
        "first_look",
        "holders",
        "idletimeout",
        "limited",
        "limits",
        "login_durations",
        "mail_check_durations",
        "modules",
        "orders",
        "pipes",
        "proxytimeout",
        "reporter",
        "rules",
        "sessiontimeout",
        "sidprefix",
        "started_cell",
        "tls_settings",
        "traffic_cells",
        "vserv",
    )

    def __init__(
        self,
        context: WorkerContext,
        rules: Rules,
        variables: Mapping[str, Any],
        *,
        backends: dict[str, BackendRuntime],
        modules: ModuleChain,
        pipes: Pipes,
        tls_settings: TlsSettings | None,
        backend_tls: BackendsInTls,
        counters: Counters,
        traffic_cells: Sequence[int],
        limits: Limits,
        orders: WorkerOrders,
        absorber: Absorber,
        reporter: Reporter | None,
        holders: RefCount,
        times: RefusalTimes | None,
    ) -> None:
        """`backends`: all that there are; `traffic_cells`: those of a Traffic; `holders`: of the service, each
        session is one.
        """
        self.context = context
        self.rules = rules
        self.vserv = rules.vserv.encode()
        """The virtual server's name, as rows have it."""
        self.modules = modules
        self.pipes = pipes
        self.tls_settings = tls_settings
        self.backend_tls = backend_tls
        self.absorber = absorber
        self.limits = limits
        self.orders = orders
        self.limited = limits.counts_guesses or limits.counts_sessions or limits.cluster is not None
        """Whether there is anything to ask them, but for what a module says of a user."""
        self.around = Surroundings(
            rules,
            backends,
            limits=limits,
            orders=orders,
            polls=absorber,
            times=times,
            now=lambda: context.clock.now,
        )
        """What the machines are given."""
        self.reporter = reporter
        """Who notes logins that a stricter configuration would refuse; None: nobody does."""
        self.blocked = limits.blocked.head
        """0 as long as no network was ever blocked."""
        self.holders = holders
        self.authtimeout: float = variables["authtimeout"] or float("inf")
        self.idletimeout: float = variables["idletimeout"]
        timeouts = [rules.checktimeout for backend in backends.values() if backend.asks_for_mail]
        self.first_look = min(rules.connecttimeout, self.authtimeout, self.idletimeout, *timeouts)
        """Seconds after which a new session looks at its deadlines for the first time."""
        self.proxytimeout: float = variables["proxytimeout"]
        self.sessiontimeout: float = variables["sessiontimeout"] or float("inf")
        self.checkport: int = variables["checkport"]
        self.sidprefix: str = variables["sidprefix"]
        self.counters = counters
        self.started_cell = counters.cell("sessions_started", None, rules.vserv)
        """The cell that counts its sessions."""
        self.login_durations: Observer = counters.observer("login_duration", rules.vserv)
        self.mail_check_durations: Observer = counters.observer("mail_check_duration")
        self.traffic_cells = traffic_cells
