"""One config, ready to serve: the rules of each virtual server, the open modules, the TLS contexts, the timeouts.

A session keeps the service under which it was accepted. Modules outlive the service as long as a session or a
successor uses them.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from popular.net.splice import Pipes
from popular.pdm.contract import PASSWORD, AnyModule
from popular.pdm.threads import outcome_on_loop
from popular.proxy.backend_tls import BackendsInTls
from popular.proxy.backends_in_use import backends_in_use
from popular.proxy.lacking import Lacking
from popular.proxy.open_modules import OpenModule, open_modules
from popular.proxy.session.backend.mailcheck import RestingRoom
from popular.proxy.session.backend.rejections import UnexplainedRejections
from popular.proxy.session.beginner import SessionBeginner
from popular.proxy.session.explain.explain import Explanation
from popular.proxy.session.limits.cluster import Cluster
from popular.proxy.session.limits.limits import Limits
from popular.proxy.session.limits.login_orders import WorkerOrders
from popular.proxy.session.limits.refusal_times import RefusalTimes, refusal_times
from popular.proxy.session.rules import rules_of
from popular.proxy.session.shared.absorber import Absorber
from popular.proxy.session.shared.last_login_writer import LastLogins
from popular.proxy.session.shared.module_chain import ModuleChain
from popular.proxy.session.shared.news import News
from popular.proxy.session.shared.question_queue import QuestionQueue
from popular.proxy.session.shared.reports import reporter
from popular.proxy.session.shared.runtime import VservRuntime
from popular.proxy.session.tracing.trace_registry import TraceRegistry
from popular.proxy.settings.cluster import CLUSTER, PASSWORDFILE
from popular.proxy.settings.explain import LoginToExplain
from popular.proxy.settings.lastlogins import USERS
from popular.proxy.settings.leading import UserToLead
from popular.proxy.settings.limits import limit_rules
from popular.proxy.settings.vserv import Vserv
from popular.tls.contexts import Contexts, tls_settings
from supervisor.config import Config, Report
from supervisor.control.words import CommandRefused
from supervisor.runtime.descriptors import resting_descriptors
from supervisor.serving.context import WorkerContext, threads_to_compute
from supervisor.serving.refcount import RefCount

LEAD_SECONDS = 30.0
"""For a module to be told where a user is: a database of many users is written anew."""


class Holdings:
    """What a service shares with others, and has to let go of: its modules, which it holds already, and the cluster.

    It knows nothing of the service. What would be a circle is freed by the collector alone, which comes rarely in a
    worker, and a list of users is large.
    """

    def __init__(self, context: WorkerContext, modules: list[OpenModule], cluster: Cluster | None) -> None:
        self._context = context
        self._modules = modules
        self._cluster = cluster
        if cluster is not None:
            cluster.holders += 1

    def let_go(self) -> None:
        """Nobody holds the service any more."""
        for held in self._modules:
            held.release(self._context)
        self._modules.clear()
        if self._cluster is not None:
            self._cluster.release()
            self._cluster = None


class ProxyService:
    """Made in a thread (`__init__` may block), used on the event loop."""

    def __init__(
        self, context: WorkerContext, config: Config, before: "ProxyService | None", *, tolerant: bool = False
    ) -> None:
        """Raises CommandRefused with a text for people. `tolerant`: others have tried the config, and are served under
        it; what cannot be opened any more is done without.
        """
        variables = config.variables
        self.pipes: Pipes = before.pipes if before is not None else Pipes()
        self.check_room: RestingRoom = before.check_room if before is not None else RestingRoom(resting_descriptors())
        self.contexts: Contexts = Contexts(variables["tlsciphers"], None if before is None else before.contexts)
        self.tls_settings = tls_settings(config, self.contexts)
        self.backend_tls: BackendsInTls = BackendsInTls(config, None if before is None else before.backend_tls)
        self.questions: QuestionQueue = before.questions if before is not None else QuestionQueue(context)
        self.orders: WorkerOrders = (
            before.orders if before is not None else WorkerOrders(context.operator, context.loop.call_soon)
        )
        had = {} if before is None else before.rejections
        self.rejections: Mapping[str, UnexplainedRejections] = {
            ident: had.get(ident) or UnexplainedRejections() for ident in config.things["backend"]
        }
        self._lacking: Lacking = Lacking(config, None if before is None else before._lacking, tolerant=tolerant)
        self.cluster: Cluster | None = _cluster(
            context, config, None if before is None else before.cluster, lacking=self._lacking
        )
        self._salt_key = self._lacking.salt_key(context)
        self.registry: TraceRegistry = before.registry if before is not None else TraceRegistry(context)
        self.last_logins: LastLogins = before.last_logins if before is not None else LastLogins(context)
        self.last_logins.most = config.variables[USERS]
        # After whatever may fail by what others have said, so that nothing needs to be closed then.
        self._open: list[OpenModule] = open_modules(
            context, config, before._open if before is not None else [], tolerant=tolerant, lacking=self._lacking.faults
        )
        self._sessions = RefCount(Holdings(context, self._open, self.cluster).let_go)
        self._times: RefusalTimes | None = None if before is None else before._times
        self._news: News | None = None
        try:
            self._vservs = self._runtimes(context, config)
            if self.cluster is not None:
                self._news = News(context, self.cluster, limit_rules(variables), backends=config.things["backend"])
        except BaseException:  # such as what a module raises when it is looked at
            self._sessions.retire()
            raise
        self.serve = SessionBeginner(self._vservs, self.registry, self._sessions).serve
        """Begins a session, which holds this service until it is over. (A method would cost a frame of Python.)"""

    def _runtimes(self, context: WorkerContext, config: Config) -> dict[str, VservRuntime]:
        counters = context.open_counters(config.counter_indexes)
        observer = counters.observer
        modules = config.things["pdm"]
        chain = ModuleChain(
            [(held.guard, modules[held.spec.id].terms.terms()) for held in self._open],
            self.questions,
            context,
            threads=threads_to_compute(config.variables["workers"]),
            counters=counters,
            observers={ident: observer("module_duration", ident) for ident in modules},
        )
        ends = [(counter, end) for end in ("client", "backend") for counter in ("received_bytes", "sent_bytes")]
        traffic_cells = [counters.cell(counter, end) for counter, end in ends]
        backends = backends_in_use(
            context,
            config,
            counters,
            rejections=self.rejections,
            backend_tls=self.backend_tls,
            check_room=self.check_room,
        )
        used = [held.module for held in self._open if not modules[held.spec.id].terms.shadow]
        takes = kinds_taken(used, config.variables["fallback"])
        self._times = refusal_times(used, lambda: context.clock.now, before=self._times)
        vservs: Mapping[str, Vserv] = config.things["vserv"]
        self._useless = {ident: vserv.useless for ident, vserv in vservs.items()}
        return {
            ident: VservRuntime(
                context,
                rules_of(vserv, config, takes, salt_key=self._salt_key),
                config.variables,
                backends=backends,
                modules=chain,
                pipes=self.pipes,
                tls_settings=self.tls_settings.get(ident),
                backend_tls=self.backend_tls,
                counters=counters,
                traffic_cells=traffic_cells,
                orders=self.orders,
                limits=Limits(vserv.limits(config.variables), ident, context, cluster=self.cluster),
                absorber=Absorber(context, ident, config.generation),
                reporter=reporter(context, config.variables, ident, last_logins=self.last_logins),
                holders=self._sessions,
                times=self._times,
            )
            for ident, vserv in vservs.items()
        }

    async def explain(self, login: LoginToExplain) -> dict[str, Any]:
        """What would become of a login; the service is held as by a session meanwhile."""
        self._sessions.acquire()
        try:
            return await Explanation(self._vservs[login.vserv], login).made()
        finally:
            self._sessions.release()

    async def lead(self, wanted: UserToLead) -> None:
        """Tells a module where a user's mail is from now on. Raises CommandRefused."""
        held = next((one for one in self._open if one.spec.id == wanted.module), None)
        if held is None:
            raise CommandRefused(f"there is no module {wanted.module} any more")
        if wanted.back and not held.guard.leads:
            return
        self._sessions.acquire()
        try:
            fault = await held.guard.lead(wanted.at, LEAD_SECONDS)
        finally:
            self._sessions.release()
        if fault:
            raise CommandRefused(f"module {wanted.module} could not be told: {fault}")

    def retire(self) -> None:
        if self._news is not None:
            self._news.close()
        self._sessions.retire()

    async def close(self) -> None:
        """The worker goes: the cluster hears who has left, and its modules are let go of."""
        closing: list[Coroutine[Any, Any, object]] = [outcome_on_loop(held.guard.close()) for held in self._open]
        if self.cluster is not None:
            closing.append(self.cluster.listing.finish())
        await asyncio.gather(*closing, return_exceptions=True)

    def reports(self) -> list[Report]:
        """What was found in the modules and the virtual servers, for the master to keep and to tell."""
        useless = [Report(f"vserv {ident}", (note,)) for ident, note in self._useless.items() if note]
        return [held.report() for held in self._open] + self._lacking.reports() + useless


def _cluster(context: WorkerContext, config: Config, before: Cluster | None, *, lacking: Lacking) -> Cluster | None:
    """The one that the config wants: as it is, if it is the same."""
    url, passwordfile = config.variables[CLUSTER], config.variables[PASSWORDFILE]
    name = config.variables["sidprefix"]
    if before is not None and (*before.settings, before.proxy) == (url, passwordfile, name):
        return before
    if not url:
        return None
    run = f"{context.open_remembered().digest('run'):x}"
    return lacking.attempt(CLUSTER, lambda: Cluster(context, url, passwordfile, proxy=name, run=run), without=None)


def kinds_taken(modules: Sequence[AnyModule], fallback: str) -> frozenset[str]:
    """The kinds of credential that somebody looks at. A fallback backend looks at passwords; and where there is no
    module yet, clients find what they will find.
    """
    kinds = frozenset[str]().union(*(getattr(module, "takes", (PASSWORD,)) for module in modules))
    return kinds | {PASSWORD} if fallback or not modules else kinds
