"""What is written about a session: its one log line, and the debug lines of its dialogue."""

from typing import TYPE_CHECKING, TypeAlias

from popular.messages import SESSION_END, TLS_FAILED
from popular.net.handshake import Agreed, Failure
from supervisor.log import Log
from supervisor.workshop import Workshop

if TYPE_CHECKING:
    from popular.proxy.session import Session

Moved: TypeAlias = tuple[int, int, int, int]
"""Octets so far: received from the client and sent to it, all of them; received from the backend and sent to it, those
that were passed on. A plain tuple, because one with names takes ten times as long to make.
"""

NOTHING_MOVED: Moved = (0, 0, 0, 0)


def tell(shop: Workshop, session: "Session", ending: str, seconds: float, moved: Moved) -> None:
    """The whole story in one line. `seconds`: how long it was."""
    machine, tls = session.machine, session.tls
    shop.log(
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


def tell_handshake(shop: Workshop, sid: str, agreed: Agreed) -> None:
    """A handshake is done: counted, and with the debug option TLS told."""
    shop.count("tls_handshakes", agreed.version)
    if agreed.resumed:
        shop.count("tls_resumptions")
    if shop.log.options:
        shop.log.debug("TLS", "handshake", sid, **agreed._asdict())


def tell_tls_failure(shop: Workshop, session: "Session", failure: Failure) -> None:
    """A handshake failed: counted and told."""
    shop.count("tls_failures", failure.why)
    rules = session.rules
    shop.log(TLS_FAILED, session.sid, client=session.peer[0], vserv=rules.vserv, why=failure.why, reason=failure.reason)


def debug_dialogue(log: Log, sid: str, who: str, data: bytes) -> None:
    """Debug option POP: one entry a line. A password shows only with the option PASS."""
    for line in data.split(b"\r\n"):
        if line[:5].upper() == b"PASS " and "PASS" not in log.options:
            line = b"PASS ****"
        if line:
            log.debug("POP", who, sid, line=line.decode("utf-8", "replace"))


def place_of(error: BaseException) -> str:
    """File and line of an error: enough to find it, and no value that could be a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else "?"
