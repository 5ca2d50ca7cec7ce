"""What is written about a session: its one log line."""

from typing import TypeAlias

from popular.messages import SESSION_END
from popular.net.handshake import Agreed
from popular.proxy.session.machine import Machine
from supervisor.runtime.log import Log

Moved: TypeAlias = tuple[int, int, int, int]
"""Octets so far: received from the client and sent to it, all of them; received from the backend and sent to it, those
that were passed on. A plain tuple, because one with names takes ten times as long to make.
"""

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
    log(
        SESSION_END,
        sid,
        client=client,
        vserv=vserv,
        namespace=machine.namespace,
        user=machine.user,
        backend=machine.backend,
        target=machine.target,
        ending=ending,
        seconds=round(1000 * seconds) / 1000,
        received=moved[0],
        sent=moved[1],
        tls=tls.version if tls is not None else "",
        cipher=tls.cipher if tls is not None else "",
        via=via,
    )
