"""`pserv`: the rows of its tables, put together as a program that the supervisor runs."""

from typing import Any

from metrics.exporter import export
from popular.net.tlscore import WAY
from popular.protocol.xpop import LONGEST_NAME, LONGEST_SID
from popular.store.pserv.commands import COMMANDS, SORTS, rc_lines
from popular.store.pserv.endings import ENDINGS
from popular.store.pserv.metrics import BACKEND, METRICS, SERVER
from popular.store.pserv.phases import STATES, Phase
from popular.store.pserv.service import StoreService
from popular.store.pserv.variables import STORE_VARIABLES
from popular.tls import commands as certificates
from popular.tls.supply import complete_change
from popular.tls.users import described
from popular.tls.variables import TLS_VARIABLES
from supervisor.config import Config
from supervisor.control.commands.variables import common_variables
from supervisor.main import main as run
from supervisor.program import COMMON_DEBUG_OPTIONS, Program, Service
from supervisor.serving.context import WorkerContext
from supervisor.table.contents import Column, Rate
from supervisor.version import VERSION
from supervisor.watched import BUSY, GOOD, Graph, ThingTable, Watched

COLUMNS = (
    Column("sid", f"{LONGEST_SID}s", "session id, the proxy's own from its request on", spare=8),
    Column("client", "46s", "the proxy's address", mask="address", spare=3),
    Column("port", "H", "the proxy's port", mask="number", spare=15),
    Column("mailbox", f"{LONGEST_NAME}s", "mailbox", mask="name"),
    Column("flags", "52s", "flags of the request; M is a master session", spare=10),
    Column("retrieved", "I", "messages sent", spare=6),
    Column("received", "Q", "octets from the client", spare=7),
    Column("sent", "Q", "octets to the client", spare=4),
)

WATCHED = Watched(
    servers=ThingTable(SERVER, title="Virtual servers", one="virtual server", host="iface"),
    others=(ThingTable(BACKEND, title="Backends", one="backend", host="host"),),
    graphs=(Graph("logins", "Mailboxes opened", "opened"),),
    rates=(Rate("opened", "opened"),),
    tones={
        Phase.OPENING.phrase: BUSY,
        Phase.SENDING.phrase: GOOD,
        Phase.LISTING.phrase: GOOD,
        Phase.UPDATING.phrase: BUSY,
    },
)

DEBUG_OPTIONS = {
    **COMMON_DEBUG_OPTIONS,
    "MAIL": "Mailboxes opened and updated, messages not found.",
    "NET": "Connections accepted and closed, listening sockets.",
    "PASS": "Passwords, should a client send one by mistake. A security risk: not for normal use.",
    "POP": "POP3 dialogues, without the messages.",
    "TLS": "TLS handshakes.",
}


def describe(config: Config) -> dict[str, Any]:
    """See supervisor.program.Program: what a watcher may know."""
    return {
        "generation": config.generation,
        "variables": {
            name: config.variables[name] for name in ("maxsession", "maxlocalload", "maxpressure", "workers")
        },
        "vservs": [
            {"id": one.id, "state": one.state, "iface": one.iface.address, "port": one.port, "protocol": one.prot}
            for one in config.things["server"].values()
        ],
        "backends": [],
        "modules": [],
        "certificates": described(config),
    }


def _make_service(context: WorkerContext, config: Config, before: Service | None) -> Service:
    assert before is None or isinstance(before, StoreService)
    return StoreService(context, config, before)


PROGRAM = Program(
    name="pserv",
    version=VERSION,
    summary="POP3 storage server: serves mailboxes to POP3 proxies that have authenticated their users (XPOP).",
    magic=b"SERVER\0\0",
    columns=COLUMNS,
    metrics=METRICS,
    states=STATES,
    endings=tuple(ENDINGS),
    debug_options=DEBUG_OPTIONS,
    debug_notes={"PASS": "passwords are logged"},
    variables=(*common_variables("pserv"), *STORE_VARIABLES, *TLS_VARIABLES),
    commands=COMMANDS,
    sorts=SORTS,
    rc_lines=rc_lines,
    make_service=_make_service,
    watched=WATCHED,
    describe=describe,
    exporter=export,
    exporter_address="127.0.0.1:9111",
    complete_change=complete_change,
    periodic_commands=(certificates.PERIODIC,),
    ways=(WAY,),
)


def main(argv: list[str] | None = None) -> int:
    """The command `pserv`."""
    return run(PROGRAM, argv)
