"""`pproxy`: the rows of its tables, put together as a program that the supervisor runs."""

from metrics.exporter import export
from popular.messages import POPULAR_MESSAGES
from popular.net.handshake import FAILURES as TLS_FAILURES
from popular.proxy import certificates
from popular.proxy.description import describe
from popular.proxy.sentences import LIMITS, SENTENCES, SORTS, rc_lines
from popular.proxy.service import ProxyService
from popular.proxy.session.backend_login import FAILURES as BACKEND_FAILURES
from popular.proxy.session.endings import ENDINGS, LOGIN_FAILURES
from popular.proxy.session.phases import STATES
from popular.proxy.variables import PROXY_VARIABLES
from popular.version import VERSION
from supervisor.config import Config
from supervisor.control.things import OFFLINE
from supervisor.control.variables import common_variables
from supervisor.main import main as run
from supervisor.messages import SUPERVISOR_MESSAGES
from supervisor.program import Listener, Program, Service
from supervisor.table.layout import Column, Counter, Histogram, microseconds
from supervisor.workshop import Workshop

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

LEGS = ("client", "backend")

COUNTERS = (
    Counter("logins", "Logins that succeeded, with a backend's mailbox or an empty one.", by="vserv"),
    Counter("login_failures", "Logins that failed, by reason.", LOGIN_FAILURES, by="vserv"),
    Counter("simulated", "Sessions that were shown an empty mailbox."),
    Counter("mail_checks", "Mail checks, by answer.", ("empty", "mail", "load", "unanswered")),
    Counter("module_lookups", "Questions put to a module.", by="pdm"),
    Counter("module_failures", "Questions that a module could not answer.", by="pdm"),
    Counter("backend_logins", "Logins that a backend accepted.", by="backend"),
    Counter("backend_failures", "Attempts at a backend that failed, by step.", BACKEND_FAILURES, by="backend"),
    Counter("tls_handshakes", "TLS handshakes with clients, by version.", ("TLSv1.2", "TLSv1.3")),
    Counter("tls_resumptions", "Those of them that resumed an earlier TLS session."),
    Counter("tls_failures", "TLS handshakes with clients that failed, by reason.", TLS_FAILURES),
    Counter("received_bytes", "Octets received, by leg.", LEGS),
    Counter("sent_bytes", "Octets sent, by leg.", LEGS),
)

LOCAL = microseconds(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
NETWORK = microseconds(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)

HISTOGRAMS = (
    Histogram("tls_handshake_duration", "TLS handshakes with clients.", NETWORK),
    Histogram("module_duration", "Answers of a module.", LOCAL, by="pdm"),
    Histogram("mail_check_duration", "Answers of pcheckd.", NETWORK),
    Histogram("backend_connect_duration", "Until a backend was there.", NETWORK, by="backend"),
    Histogram("backend_login_duration", "From there to its positive answer.", NETWORK, by="backend"),
    Histogram("login_duration", "From accept to the positive answer.", NETWORK, by="vserv"),
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


def listeners(config: Config) -> list[Listener]:
    """One for each virtual server that is not offline."""
    return [Listener.at(one.id, one.iface, one.port) for one in config.things["vserv"].values() if one.state != OFFLINE]


def _make_service(shop: Workshop, config: Config, before: Service | None) -> Service:
    assert before is None or isinstance(before, ProxyService)
    return ProxyService(shop, config, before)


PROGRAM = Program(
    name="pproxy",
    version=VERSION,
    summary="POP3 proxy: authenticates users, finds their storage server and joins the two.",
    magic=b"PROXY\0\0\0",
    messages=(*SUPERVISOR_MESSAGES, *POPULAR_MESSAGES),
    columns=COLUMNS,
    counters=COUNTERS,
    states=STATES,
    endings=tuple(ENDINGS),
    debug_options=DEBUG_OPTIONS,
    variables=(*common_variables("pproxy"), *PROXY_VARIABLES),
    sentences=SENTENCES,
    sorts=SORTS,
    rc_lines=rc_lines,
    listeners=listeners,
    make_service=_make_service,
    front="vserv",
    describe=describe,
    exporter=export,
    exporter_address="127.0.0.1:9110",
    histograms=HISTOGRAMS,
    complete=certificates.complete,
    routines=(certificates.ROUTINE,),
    limits=LIMITS,
)


def main(argv: list[str] | None = None) -> int:
    """The command `pproxy`."""
    return run(PROGRAM, argv)
