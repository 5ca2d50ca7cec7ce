"""What is written about a session: its one log line, and what the debug options show of the client's connection."""

from typing import TypeAlias

from popular.messages import SESSION_END
from popular.net.client import ClientConnection
from popular.proxy.session.header_reader import local_end
from popular.proxy.session.runtime import VservRuntime
from supervisor.runtime.log import Log
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


def log_end(log: Log, sid: str, facts: tuple[object, ...]) -> None:
    """The whole session in one line. `facts`: its fields, in their order."""
    if log.options and "NET" in log.options:
        client, _vserv, _namespace, _user, _backend, _target, ending, _seconds, received, sent, *_ = facts
        log.debug("NET", "closed", sid, client=client, reason=ending, received=received, sent=sent)
    log.often(_SESSION_END, sid, facts)
