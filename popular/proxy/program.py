"""`pproxy`: the rows of its tables, put together as a program that the supervisor runs."""

from collections.abc import Sequence
from typing import Any

from metrics.exporter import export
from popular.net.tlscore import WAY
from popular.pdm import loader
from popular.proxy.checks.checker import CHECKER
from popular.proxy.metrics import BACKEND, METRICS, VSERV
from popular.proxy.service import ProxyService
from popular.proxy.session.machine.endings import ENDINGS
from popular.proxy.session.machine.phases import STATES, Phase
from popular.proxy.settings import modules, resolving
from popular.proxy.settings.announced import ANNOUNCED
from popular.proxy.settings.commands import CEILINGS, COMMANDS, SORTS, rc_lines
from popular.proxy.settings.description import describe
from popular.proxy.settings.drift import DRIFT
from popular.proxy.settings.explain import LoginToExplain
from popular.proxy.settings.health import HEALTH
from popular.proxy.settings.healthuser import HEALTHUSER
from popular.proxy.settings.leading import UserToLead
from popular.proxy.settings.moving import check_nobody_is_led_astray, set_move_command
from popular.proxy.settings.order_sorts import (
    DRAINED_BACKEND,
    DRAINED_VSERV,
    HELD_USER,
    LOCKED_USER,
    MOVING_USER,
    ROUTED_USER,
)
from popular.proxy.settings.order_sweeps import sweeps_of
from popular.proxy.settings.standing import STANDING, VSERV_STANDING
from popular.proxy.settings.tracing import TRACE
from popular.proxy.settings.unheeded import unheeded
from popular.proxy.settings.variables import PROXY_VARIABLES
from popular.tls import commands as certificates
from popular.tls import groups
from popular.tls.contexts import set_groups
from popular.tls.supply import complete_change
from supervisor.config import Config, Report
from supervisor.control.commands.variables import common_variables
from supervisor.main import main as run
from supervisor.operatorstate import OrderEntry
from supervisor.program import COMMON_DEBUG_OPTIONS, Program, Service, StartOption
from supervisor.serving.context import WorkerContext
from supervisor.table.blocked import BLOCKED
from supervisor.table.contents import Column, Health, Rate
from supervisor.version import VERSION
from supervisor.watched import BUSY, GOOD, CountedColumn, Graph, ThingTable, Watched

COLUMNS = (
    Column("sid", "96s", "session id", spare=8),
    Column("client", "46s", "the client's address", mask="address", spare=3),
    Column("port", "H", "the client's port", mask="number", spare=15),
    Column("vserv", "64s", "virtual server", spare=5),
    Column("user", "96s", "user name, without its namespace", mask="name"),
    Column("backend", "64s", "backend", spare=2),
    Column("target", "96s", "mailbox, or user name on the backend", mask="name", spare=13),
    Column("received", "Q", "octets from the client", spare=7),
    Column("sent", "Q", "octets to the client", spare=4),
    Column("deletes", "I", "deletions that are not yet committed", spare=11),
)

ORDERS = {
    DRAINED_BACKEND: "backend drained",
    DRAINED_VSERV: "virtual server drained",
    HELD_USER: "user held",
    LOCKED_USER: "user locked",
    MOVING_USER: "user on the move",
    ROUTED_USER: "user moved",
    BLOCKED: "network blocked",
    TRACE: "trace at work",
}
"""What the operator may order beside the configuration, and what such an order does."""

WATCHED = Watched(
    servers=ThingTable(
        VSERV,
        title="Virtual servers",
        one="virtual server",
        host="iface",
        counted=(
            CountedColumn(key="logins", title="logins", counter="logins"),
            CountedColumn(key="failures", title="failed", counter="login_failures"),
        ),
    ),
    others=(
        ThingTable(
            BACKEND,
            title="Backends",
            one="backend",
            host="host",
            counted=(
                CountedColumn(key="logins", title="logins", counter="backend_logins"),
                CountedColumn(key="failures", title="failed", counter="backend_failures"),
                CountedColumn(key="awaiting", title="waiting", counter="backend_waiting"),
                CountedColumn(key="absorbed", title="absorbed", counter="absorbed"),
            ),
            health=Health(by="backend", good="backend_logins", bad="backend_failures", record=HEALTH.name),
            durations=(("connect", "backend_connect_duration"), ("login", "backend_login_duration")),
            standing=STANDING.record.name,
            found=(HEALTHUSER.name,),
            kick=("kick", "backend", "=id"),
        ),
    ),
    graphs=(Graph("logins", "Logins", "logins"), Graph("failures", "Failed logins", "login_failures")),
    rates=(Rate("logins", "logins"), Rate("login_failures", "failures", bad=True)),
    tones={
        Phase.ASKING.phrase: BUSY,
        Phase.CHECKING.phrase: BUSY,
        Phase.CONNECTING.phrase: BUSY,
        Phase.LOGGING_IN.phrase: BUSY,
        Phase.RELAYING.phrase: GOOD,
    },
    kick=("kick", "user", "=user", "vserv", "=vserv"),
    orders=ORDERS,
)

DEBUG_OPTIONS = {
    "AUTH": "Authentication: what each module answered and how long it took, and the route, without passwords.",
    **COMMON_DEBUG_OPTIONS,
    "NET": "Connections to clients and backends: addresses, and why they end; listening sockets.",
    "PASS": "The password of each attempt to log in. A security risk: not for normal use.",
    "POP": "POP3 dialogues with clients and backends before the two sides are joined.",
    "TLS": "TLS handshakes with clients and backends.",
}


TLS_GROUPS = StartOption(
    "tls-groups",
    "GROUPS",
    "groups of the key exchange in TLS, with commas, the best first (default: those of "
    f"{','.join(groups.PREFERRED)} that OpenSSL knows)",
    take=set_groups,
)


MOVE_COMMAND = StartOption(
    "move-command",
    "PATH",
    "a program that `user move` runs when the user is gone, as PATH NAMESPACE USER FROM TO: it copies the mail with "
    "its UIDLs, and exit code 0 means that this is done (default: none; the mail is moved by other means)",
    take=set_move_command,
)


def _make_service(context: WorkerContext, config: Config, before: Service | None) -> Service:
    assert before is None or isinstance(before, ProxyService)
    return ProxyService(context, config, before)


def _make_tolerant_service(context: WorkerContext, config: Config) -> Service:
    return ProxyService(context, config, None, tolerant=True)


def _reports(service: Service) -> Sequence[Report]:
    assert isinstance(service, ProxyService)
    return service.reports()


def _ordered(service: Service, entries: Sequence[OrderEntry]) -> None:
    assert isinstance(service, ProxyService)
    service.orders.changed(entries)
    service.registry.changed()


async def _answer(service: Service, question: Any) -> Any:
    assert isinstance(service, ProxyService)
    if isinstance(question, UserToLead):
        return await service.lead(question)
    assert isinstance(question, LoginToExplain)
    return await service.explain(question)


def _finish(service: Service) -> None:
    assert isinstance(service, ProxyService)
    service.last_logins.finish()
    service.registry.finish()


async def _close(service: Service) -> None:
    assert isinstance(service, ProxyService)
    await service.close()


PROGRAM = Program(
    name="pproxy",
    version=VERSION,
    summary="POP3 proxy: authenticates users, finds their storage server and joins the two.",
    magic=b"PROXY\0\0\0",
    columns=COLUMNS,
    metrics=METRICS,
    states=STATES,
    endings=tuple(ENDINGS),
    debug_options=DEBUG_OPTIONS,
    debug_notes={"PASS": "passwords are logged"},
    variables=(*common_variables("pproxy"), *PROXY_VARIABLES),
    commands=COMMANDS,
    sorts=SORTS,
    rc_lines=rc_lines,
    make_service=_make_service,
    make_tolerant_service=_make_tolerant_service,
    watched=WATCHED,
    describe=describe,
    exporter=export,
    exporter_address="127.0.0.1:9110",
    complete_change=complete_change,
    check_change=check_nobody_is_led_astray,
    reports=_reports,
    answer=_answer,
    ordered=_ordered,
    unheeded=unheeded,
    sweeps_of=sweeps_of,
    finish=_finish,
    close=_close,
    periodic_commands=(certificates.PERIODIC, modules.PERIODIC, resolving.PERIODIC),
    records=(ANNOUNCED, HEALTH, DRIFT, HEALTHUSER),
    standings=(STANDING, VSERV_STANDING),
    remembers=True,
    helper=CHECKER,
    ceilings=CEILINGS,
    start_options=(TLS_GROUPS, MOVE_COMMAND),
    ways=(WAY,),
)


def main(argv: list[str] | None = None) -> int:
    """The command `pproxy`."""
    loader.keep_ours()
    return run(PROGRAM, argv)
