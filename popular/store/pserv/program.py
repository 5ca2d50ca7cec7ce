"""`pserv`: the rows of its tables, put together as a program that the supervisor runs."""

from typing import Any

from metrics.exporter import export
from popular.messages import (
    AUTHORITIES_TAKEN,
    CERTIFICATE_FAULT,
    CERTIFICATE_GONE,
    CERTIFICATE_TAKEN,
    NULL_BYTE_IN_INPUT,
    SESSION_END,
    TLS_FAILED,
)
from popular.protocol.xpop import LONGEST_NAME, LONGEST_SID
from popular.store import messages
from popular.store.pserv.commands import COMMANDS, SORTS, rc_lines
from popular.store.pserv.endings import ENDINGS
from popular.store.pserv.metrics import METRICS, SERVER
from popular.store.pserv.phases import STATES
from popular.store.pserv.service import StoreService
from popular.store.pserv.variables import STORE_VARIABLES
from popular.tls import commands as certificates
from popular.tls.variables import TLS_VARIABLES
from supervisor.config import Config
from supervisor.control.things import OFFLINE
from supervisor.control.variables import common_variables
from supervisor.main import main as run
from supervisor.program import Program, Service
from supervisor.runtime.messages import SUPERVISOR_MESSAGES
from supervisor.serving.context import WorkerContext
from supervisor.sockets.listener import Listener
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
    "TLS": "TLS handshakes.",
}

MESSAGES = (
    *SUPERVISOR_MESSAGES,
    SESSION_END,
    NULL_BYTE_IN_INPUT,
    messages.DIR_ACCESS_FAILED,
    messages.STAT_FAILED,
    messages.NOT_A_MESSAGE,
    messages.SAME_UID,
    messages.FOLDER_MISSING,
    messages.MOVE_FAILED,
    messages.DELETE_FAILED,
    messages.BAD_REQUEST,
    messages.READ_FAILED,
    messages.UPDATE_FAILED,
    messages.UNTRUSTED_PEER,
    TLS_FAILED,
    CERTIFICATE_TAKEN,
    CERTIFICATE_GONE,
    CERTIFICATE_FAULT,
    AUTHORITIES_TAKEN,
)


def listeners(config: Config) -> list[Listener]:
    """One, if there is a server that is not offline."""
    return [
        Listener.at(one.id, one.iface, one.port) for one in config.things["server"].values() if one.state != OFFLINE
    ]


def describe(config: Config) -> dict[str, Any]:
    """See supervisor.program.Program: what a watcher may know."""
    return {
        "generation": config.generation,
        "variables": {
            name: config.variables[name] for name in ("maxsession", "maxlocalload", "maxpressure", "workers")
        },
        "vservs": [
            {
                "id": one.id,
                "state": one.state,
                "iface": one.iface,
                "port": one.port,
                "prot": one.prot,
                "starttls": "off",
            }
            for one in config.things["server"].values()
        ],
        "backends": [],
        "modules": [],
        "certificates": certificates.described(config),
    }


def _make_service(context: WorkerContext, config: Config, before: Service | None) -> Service:
    assert before is None or isinstance(before, StoreService)
    return StoreService(context, config, before)


PROGRAM = Program(
    name="pserv",
    version=VERSION,
    summary="POP3 storage server: serves mailboxes to POP3 proxies that have authenticated their users (XPOP).",
    magic=b"SERVER\0\0",
    messages=MESSAGES,
    columns=COLUMNS,
    metrics=METRICS,
    states=STATES,
    endings=tuple(ENDINGS),
    debug_options=DEBUG_OPTIONS,
    variables=(*common_variables("pserv"), *STORE_VARIABLES, *TLS_VARIABLES),
    commands=COMMANDS,
    sorts=SORTS,
    rc_lines=rc_lines,
    listeners=listeners,
    make_service=_make_service,
    listener_kind=SERVER,
    describe=describe,
    exporter=export,
    exporter_address="127.0.0.1:9111",
    complete=certificates.complete,
    periodic_commands=(certificates.PERIODIC,),
)


def main(argv: list[str] | None = None) -> int:
    """The command `pserv`."""
    return run(PROGRAM, argv)
