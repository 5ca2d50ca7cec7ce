"""`pproxy`: the rows of its tables, put together as a program that the supervisor runs."""

from collections.abc import Sequence

from metrics.exporter import export
from popular.proxy.metrics import METRICS, VSERV
from popular.proxy.service import ProxyService
from popular.proxy.session.endings import ENDINGS
from popular.proxy.session.phases import STATES
from popular.proxy.settings import certificates, modules
from popular.proxy.settings.commands import COMMANDS, LIMITS, SORTS, rc_lines
from popular.proxy.settings.description import describe
from popular.proxy.settings.variables import PROXY_VARIABLES
from popular.tls import groups
from popular.tls.contexts import set_groups
from supervisor.config import Config, Report
from supervisor.control.variables import common_variables
from supervisor.main import main as run
from supervisor.program import COMMON_DEBUG_OPTIONS, Program, Service, StartOption
from supervisor.serving.context import WorkerContext
from supervisor.table.layout import Column
from supervisor.version import VERSION

COLUMNS = (
    Column("sid", "96s", "session id"),
    Column("client", "46s", "the client's address"),
    Column("port", "H", "the client's port"),
    Column("vserv", "64s", "virtual server"),
    Column("user", "96s", "user name, without its namespace"),
    Column("backend", "64s", "backend"),
    Column("target", "96s", "mailbox, or user name on the backend"),
    Column("received", "Q", "octets from the client"),
    Column("sent", "Q", "octets to the client"),
    Column("deletes", "I", "deletions that are not yet committed"),
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
    set_groups,
)


def _make_service(context: WorkerContext, config: Config, before: Service | None) -> Service:
    assert before is None or isinstance(before, ProxyService)
    return ProxyService(context, config, before)


def _reports(service: Service) -> Sequence[Report]:
    assert isinstance(service, ProxyService)
    return service.reports()


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
    variables=(*common_variables("pproxy"), *PROXY_VARIABLES),
    commands=COMMANDS,
    sorts=SORTS,
    rc_lines=rc_lines,
    make_service=_make_service,
    listener_kind=VSERV,
    describe=describe,
    exporter=export,
    exporter_address="127.0.0.1:9110",
    complete=certificates.complete,
    reports=_reports,
    periodic_commands=(certificates.PERIODIC, modules.PERIODIC),
    limits=LIMITS,
    start_options=(TLS_GROUPS,),
)


def main(argv: list[str] | None = None) -> int:
    """The command `pproxy`."""
    return run(PROGRAM, argv)
