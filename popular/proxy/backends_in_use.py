"""What the sessions of all virtual servers need of each backend under one config, made anew for each config.

What was found out of a backend outlives that: its health and what it announces stand in the table, of all workers; who
uses it, in counters.
"""

from collections.abc import Callable, Mapping
from functools import partial

from popular.proxy.backend_tls import BackendsInTls
from popular.proxy.session.backend.announced import Announced
from popular.proxy.session.backend.backend_admission import BackendAdmission, BackendPlaces
from popular.proxy.session.backend.backend_health import BackendHealth, terms_of
from popular.proxy.session.backend.backend_runtime import BackendRuntime
from popular.proxy.session.backend.full_backend import bounded
from popular.proxy.session.backend.inquiry import Inquiry
from popular.proxy.session.backend.mailcheck import CheckSockets, RestingRoom
from popular.proxy.session.backend.reach import Reach
from popular.proxy.session.backend.rejections import UnexplainedRejections
from popular.proxy.settings.announced import ANNOUNCED
from popular.proxy.settings.backend import CXPOP, Backend, waiting_limit
from popular.proxy.settings.health import HEALTH
from popular.proxy.settings.vserv import FROM_BACKENDS
from supervisor.config import Config
from supervisor.runtime.messages import Message
from supervisor.serving.context import WorkerContext
from supervisor.serving.counters import Counters


def backends_in_use(
    context: WorkerContext,
    config: Config,
    counters: Counters,
    *,
    rejections: Mapping[str, UnexplainedRejections],
    backend_tls: BackendsInTls,
    check_room: RestingRoom,
) -> dict[str, BackendRuntime]:
    """By id. `rejections`, `backend_tls` and `check_room` are the service's; it may have them from the one before."""
    announced = _announced(context, config, backend_tls)
    health = _health(context, config, counters)
    reach = _reach(context, config)
    affected = _affected(context, config)
    seconds = config.variables["connecttimeout"], config.variables["logintimeout"]
    made = {}
    for ident, backend in config.things["backend"].items():
        places = BackendPlaces(context, counters.cell("backend_places", None, ident), backend.maxsessions)
        admission = BackendAdmission(
            context,
            counters.cell("backend_waiting", None, ident),
            waiting_limit(backend, config),
            of_all=counters.cell("backends_waiting"),
            places=places,
        )
        made[ident] = BackendRuntime(
            backend,
            seconds,
            announced=announced[ident],
            health=bounded(health[ident], admission),
            rejections=rejections[ident],
            reach=reach.get(ident),
            admission=admission,
            check_sockets=_check_sockets(context, config, backend, room=check_room),
            connect_durations=counters.observer("backend_connect_duration", ident),
            login_durations=counters.observer("backend_login_duration", ident),
            note_affected=affected.get(ident),
        )
    return made


def _check_sockets(
    context: WorkerContext, config: Config, backend: Backend, *, room: RestingRoom
) -> CheckSockets | None:
    """By what a backend is asked for mail that has one address, if it is."""
    if backend.prot != CXPOP or backend.host.further:
        return None
    at = backend.address, config.variables["checkport"]
    return CheckSockets(context.loop, at, source=backend.source, room=room)


def _announced(context: WorkerContext, config: Config, backend_tls: BackendsInTls) -> dict[str, Announced]:
    records, indexes = context.open_records(ANNOUNCED.name), config.counter_indexes.get(ANNOUNCED.by, {})

    def ask(announced: Announced) -> None:
        Inquiry(context, announced, backend_tls)

    wanted = any(vserv.capafrom == FROM_BACKENDS for vserv in config.things["vserv"].values())
    return {
        ident: Announced(backend, indexes.get(ident), records, clock=context.clock, ask=ask, wanted=wanted)
        for ident, backend in config.things["backend"].items()
    }


def _health(context: WorkerContext, config: Config, counters: Counters) -> dict[str, BackendHealth]:
    records, indexes = context.open_records(HEALTH.name), config.counter_indexes.get(HEALTH.by, {})

    def tell(message: Message, fields: dict[str, object]) -> None:
        context.log(message, "-", **fields)

    return {
        ident: BackendHealth(
            backend,
            indexes.get(ident),
            records,
            terms=terms_of(backend, config),
            clock=context.clock,
            logins=partial(context.sum, counters.cell("backend_logins", None, ident)),
            tell=tell,
        )
        for ident, backend in config.things["backend"].items()
    }


def _reach(context: WorkerContext, config: Config) -> dict[str, Reach]:
    def tell(message: Message, fields: dict[str, object]) -> None:
        context.log(message, "-", **fields)

    backends: Mapping[str, Backend] = config.things["backend"]
    return {one.id: Reach(one, context.clock, tell) for one in backends.values() if one.host.further}


def _affected(context: WorkerContext, config: Config) -> dict[str, Callable[[str, str], None]]:
    """Who is to be told whom the failures of each backend are about. A mail program that comes again counts once; the
    digest has a key of this run's, so that nobody can choose names that count for more.
    """
    affected, memory = context.open_affected("backend"), context.open_remembered()

    def note(index: int, namespace: str, user: str) -> None:
        affected.note(index, memory.digest("affected", namespace, user))

    indexes = config.counter_indexes.get("backend", {})
    return {ident: partial(note, index) for ident, index in indexes.items()}
