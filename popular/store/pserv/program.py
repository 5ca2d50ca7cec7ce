"""`pserv`: the rows of its tables, put together as a program that the supervisor runs."""

from typing import Any

from metrics.exporter import export
from popular.protocol.xpop import LONGEST_NAME, LONGEST_SID
from popular.store.pserv.commands import COMMANDS, SORTS, rc_lines
from popular.store.pserv.endings import ENDINGS
from popular.store.pserv.metrics import METRICS, SERVER
from popular.store.pserv.phases import STATES
from popular.store.pserv.service import StoreService
from popular.store.pserv.variables import STORE_VARIABLES
from supervisor.config import Config
from supervisor.control.variables import common_variables
from supervisor.main import main as run
from supervisor.program import Program, Service
from supervisor.serving.context import WorkerContext
from supervisor.table.layout import Column
from supervisor.version import VERSION

COLUMNS = (
    Column("sid", f"{LONGEST_SID}s", "session id, the proxy's own from its request on"),
    Column("client", "46s", "the proxy's address"),
    Column("port", "H", "the proxy's port"),
    Column("mailbox", f"{LONGEST_NAME}s", "mailbox"),
    Column("flags", "52s", "flags of the request; M is a master session"),
    Column("retrieved", "I", "messages sent"),
    Column("received", "Q", "octets from the client"),
    Column("sent", "Q", "octets to the client"),
)

DEBUG_OPTIONS = {
    "CTRL": "Control requests and answers.",
    "MAIL": "Mailboxes opened and updated, messages not found.",
    "NET": "Connections accepted.",
    "PASS": "Passwords, should a client send one by mistake. A security risk: not for normal use.",
    "POP": "POP3 dialogues, without the messages.",
}


def describe(config: Config) -> dict[str, Any]:
    """See supervisor.program.Program: what a watcher may know."""
    return {
        "generation": config.generation,
        "variables": {
            name: config.variables[name] for name in ("maxsession", "maxlocalload", "maxpressure", "workers")
        },
        "vservs": [
            {"id": one.id, "state": one.state, "iface": one.iface, "port": one.port, "prot": "XPOP", "starttls": "off"}
            for one in config.things["server"].values()
        ],
        "backends": [],
        "modules": [],
        "certificates": [],
    }


def _make_service(context: WorkerContext, config: Config, _before: Service | None) -> Service:
    return StoreService(context, config)


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
    variables=(*common_variables("pserv"), *STORE_VARIABLES),
    commands=COMMANDS,
    sorts=SORTS,
    rc_lines=rc_lines,
    make_service=_make_service,
    listener_kind=SERVER,
    describe=describe,
    exporter=export,
    exporter_address="127.0.0.1:9111",
)


def main(argv: list[str] | None = None) -> int:
    """The command `pserv`."""
    return run(PROGRAM, argv)
