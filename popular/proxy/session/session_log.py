"""What is written about a session: its one log line, and what a TLS handshake came to."""

from typing import TypeAlias

from popular.messages import SESSION_END
from popular.net.handshake import Agreed
from popular.proxy.session.machine import Machine
from supervisor.runtime.log import Log
from supervisor.serving.context import WorkerContext

Moved: TypeAlias = tuple[int, int, int, int]
"""Octets so far: received from the client and sent to it, all of them; received from the backend and sent to it, those
that were passed on. A plain tuple, because one with names takes ten times as long to make.
"""

_FIELDS = "client vserv namespace user backend target ending seconds received sent tls cipher via"
_NAMES = tuple(f" {field}=" for field in _FIELDS.split())

NOTHING_MOVED: Moved = (0, 0, 0, 0)


def log_end(
    log: Log,
    sid: str,
    *,
    client: str,
    vserv: str,
    machine: Machine,
    ending: str,
    seconds: float,
    moved: Moved,
    tls: Agreed | None,
    via: str,
) -> None:
    """The whole session in one line. `seconds`: how long it was; `via`: who brought its PROXY header."""
    values = (
        client,
        vserv,
        machine.namespace,
        machine.user,
        machine.backend,
        machine.target,
        ending,
        round(1000 * seconds) / 1000,
        moved[0],
        moved[1],
        tls.version if tls is not None else "",
        tls.cipher if tls is not None else "",
        via,
    )
    log.often(SESSION_END, sid, _NAMES, values)


def log_handshake(context: WorkerContext, sid: str, agreed: Agreed) -> None:
    """A handshake with a client is done: counted, and with the debug option TLS told."""
    context.count("tls_handshakes", agreed.version)
    if agreed.resumed:
        context.count("tls_resumptions")
    if context.log.options:
        context.log.debug("TLS", "handshake", sid, **agreed._asdict())
