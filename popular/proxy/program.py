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
from supervisor.config import Config, Report
from supervisor.control.variables import common_variables
from supervisor.main import main as run
from supervisor.program import Program, Service
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
    "AUTH": "Authentication details, without passwords.",
    "RINGD": "Communication with the ringd process.",
    "CTRL": "Control requests and answers.",
    "IO": "Low level input and output.",
    "MAIN": "What the program is doing.",
    "NET": "Connections to clients and backends.",
    "PASS": "Passwords, in the dialogues of POP. A security risk: not for normal use.",
    "POP": "POP3 dialogues before the two sides are joined.",
    "TLS": "TLS handshakes.",
}


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
)


def main(argv: list[str] | None = None) -> int:
    """The command `pproxy`."""
    return run(PROGRAM, argv)
