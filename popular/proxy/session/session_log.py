"""What is written about a session: its one log line, and what the debug options show of the client's connection."""

from typing import TypeAlias

from popular.messages import SESSION_END
from popular.net.client import ClientConnection
from popular.net.handshake import Agreed
from popular.proxy.session.header_reader import local_end
from popular.proxy.session.machine.machine import Machine
from popular.proxy.session.runtime import VservRuntime
from supervisor.runtime.logline import Often

Moved: TypeAlias = tuple[int, int, int, int]
"""Octets so far: received from the client and sent to it, all of them; received from the backend and sent to it, those
that were passed on. A plain tuple, because one with names takes ten times as long to make.
"""

_FIELDS = "client vserv namespace user backend target ending seconds received sent tls cipher via"
_SESSION_END = Often(SESSION_END, tuple(_FIELDS.split()))

NOTHING_MOVED: Moved = (0, 0, 0, 0)


def log_begin(runtime: VservRuntime, sid: str, peer: tuple[str, int], *, client: ClientConnection) -> None:
    """A connection was accepted (debug option NET)."""
    log = runtime.context.log
    if "NET" in log.options:
        host, port = local_end(client.channel.connection) or ("", 0)
        fields = {"vserv": runtime.rules.vserv, "client": peer[0], "port": peer[1], "local": host, "local_port": port}
        log.debug("NET", "accepted", sid, **fields, fd=client.channel.fd)


def log_introduced(runtime: VservRuntime, sid: str, peer: tuple[str, int], *, via: str) -> None:
    """The PROXY header told who the client is (debug option NET)."""
    runtime.context.log.debug("NET", "introduced", sid, client=peer[0], port=peer[1], via=via)


def milliseconds(seconds: float) -> float:
    """Whole milliseconds, in seconds: so the log has them."""
    return int(1000 * seconds + 0.5) / 1000


def log_end(
    runtime: VservRuntime,
    machine: Machine,
    sid: str,
    ending: str,
    seconds: float,
    moved: Moved,
    agreed: Agreed | None,
    via: str,
) -> None:
    """The whole session in one line. `via`: who brought the PROXY header."""
    log = runtime.context.log
    if log.options and "NET" in log.options:
        log.debug("NET", "closed", sid, client=machine.peer_ip, reason=ending, received=moved[0], sent=moved[1])
    facts = (  # in the order of _FIELDS
        machine.peer_ip,
        runtime.rules.vserv,
        machine.namespace,
        machine.user,
        machine.backend_id,
        machine.target,
        ending,
        milliseconds(seconds),
        moved[0],
        moved[1],
        agreed.version if agreed is not None else "",
        agreed.cipher if agreed is not None else "",
        via,
    )
    log.often(_SESSION_END, sid, facts)
