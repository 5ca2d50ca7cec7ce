"""`pproxy`: the rows of its tables, put together as a program that the supervisor runs."""

import socket

from popular.messages import POPULAR_MESSAGES
from popular.net.handshake import FAILURES
from popular.proxy import certificates
from popular.proxy.endings import ENDINGS
from popular.proxy.phases import STATES
from popular.proxy.sentences import LIMITS, SENTENCES, SORTS, rc_lines
from popular.proxy.service import ProxyService
from popular.proxy.variables import PROXY_VARIABLES
from popular.proxy.vserv import Vserv
from popular.version import VERSION
from supervisor.config import Config
from supervisor.control.kinds import ANY
from supervisor.control.things import OFFLINE
from supervisor.control.variables import common_variables
from supervisor.main import main as run
from supervisor.messages import SUPERVISOR_MESSAGES
from supervisor.program import Listener, Program, Service
from supervisor.table.layout import Column, Counter
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

COUNTERS = (
    Counter("logins", "Logins that a backend accepted."),
    Counter("login_failures", "Logins refused.", ("password", "unknown", "backend", "module")),
    Counter("simulated", "Sessions that were shown an empty mailbox."),
    Counter("mail_checks", "Mail checks, by answer.", ("empty", "mail", "load", "unanswered")),
    Counter("backend_failures", "Backends not reachable, too slow, or refusing."),
    Counter("tls_handshakes", "TLS handshakes with clients, by version.", ("TLSv1.2", "TLSv1.3")),
    Counter("tls_resumptions", "Those of them that resumed an earlier TLS session."),
    Counter("tls_failures", "TLS handshakes with clients that failed, by reason.", FAILURES),
    Counter("octets_from_clients", "Octets received from clients."),
    Counter("octets_to_clients", "Octets sent to clients."),
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
    return [_listener(vserv) for vserv in config.things["vserv"].values() if vserv.state != OFFLINE]


def _listener(vserv: Vserv) -> Listener:
    if vserv.iface == ANY:
        if socket.has_dualstack_ipv6():
            return Listener(vserv.id, socket.AF_INET6, ("::", vserv.port), True)
        return Listener(vserv.id, socket.AF_INET, ("0.0.0.0", vserv.port), False)
    family = socket.AF_INET6 if ":" in vserv.iface else socket.AF_INET
    return Listener(vserv.id, family, (vserv.iface, vserv.port), False)


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
    complete=certificates.complete,
    routines=(certificates.ROUTINE,),
    limits=LIMITS,
)


def main(argv: list[str] | None = None) -> int:
    """The command `pproxy`."""
    return run(PROGRAM, argv)
