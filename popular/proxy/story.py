"""What is written about a session: its one log line, and what came of a TLS handshake."""

from typing import TYPE_CHECKING, TypeAlias

from popular.messages import SESSION_END, TLS_FAILED
from popular.net.handshake import Agreed, Failure
from supervisor.serving.context import WorkerContext

if TYPE_CHECKING:
    from popular.proxy.session import Session

Moved: TypeAlias = tuple[int, int, int, int]
"""Octets so far: received from the client and sent to it, all of them; received from the backend and sent to it, those
that were passed on. A plain tuple, because one with names takes ten times as long to make.
"""

NOTHING_MOVED: Moved = (0, 0, 0, 0)


def tell(context: WorkerContext, session: "Session", ending: str, seconds: float, moved: Moved) -> None:
    """The whole story in one line. `seconds`: how long it was."""
    machine, tls = session.machine, session.tls
    context.log(
        SESSION_END,
        session.sid,
        client=session.peer[0],
        vserv=session.rules.vserv,
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
        via=session.via,
    )


def tell_handshake(context: WorkerContext, sid: str, agreed: Agreed) -> None:
    """A handshake is done: counted, and with the debug option TLS told."""
    context.count("tls_handshakes", agreed.version)
    if agreed.resumed:
        context.count("tls_resumptions")
    if context.log.options:
        context.log.debug("TLS", "handshake", sid, **agreed._asdict())


def tell_tls_failure(context: WorkerContext, session: "Session", failure: Failure) -> None:
    """A handshake failed: counted and told."""
    context.count("tls_failures", failure.why)
    rules = session.rules
    context.log(
        TLS_FAILED, session.sid, client=session.peer[0], vserv=rules.vserv, why=failure.why, reason=failure.reason
    )
