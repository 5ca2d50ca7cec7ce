"""What is written about a session: its one log line, what was counted, and what came of a TLS handshake."""

import time
from typing import TYPE_CHECKING, NamedTuple

from popular.messages import SESSION_END, TLS_FAILED
from popular.net.handshake import Agreed, Failure
from supervisor.ledger import Ledger
from supervisor.workshop import Workshop

if TYPE_CHECKING:
    from popular.proxy.client_leg import ClientLeg
    from popular.proxy.relay import Relay
    from popular.proxy.session import Session

_NOTHING: dict[str, str] = {}


class Moved(NamedTuple):
    """Octets so far. With the client: all; with the backend: those that were passed on."""

    from_client: int
    to_client: int
    from_backend: int
    to_backend: int


NOTHING_MOVED = Moved(0, 0, 0, 0)


def count_moved(ledger: Ledger, client: "ClientLeg", relay: "Relay | None", before: Moved) -> Moved:
    """Counts what was moved since it was counted last, so that a long session is seen before it is over."""
    to_backend, from_backend = (relay.from_client, relay.to_client) if relay is not None else (0, 0)
    now = Moved(client.received + to_backend, client.sent + from_backend, from_backend, to_backend)
    ledger.count("received_bytes", "client", "", now.from_client - before.from_client)
    ledger.count("sent_bytes", "client", "", now.to_client - before.to_client)
    if relay is not None:
        ledger.count("received_bytes", "backend", "", from_backend - before.from_backend)
        ledger.count("sent_bytes", "backend", "", to_backend - before.to_backend)
    return now


def tell(shop: Workshop, session: "Session", ending: str, received: int, sent: int) -> None:
    """The whole story in one line, and how long it was."""
    seconds = time.monotonic() - session.started
    machine = session.machine
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
        received=received,
        sent=sent,
        tls=session.tls.version if session.tls is not None else "",
        cipher=session.tls.cipher if session.tls is not None else "",
        **({"via": session.via} if session.via else _NOTHING),
    )
    shop.ledger.observe("session_duration", seconds)


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
