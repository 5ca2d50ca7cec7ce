"""What is written about a session of `pserv` when it is over: its one log line, and what it counts for."""

from popular.messages import NULL_BYTE_IN_INPUT, SESSION_END
from popular.protocol.xpop import Request
from popular.store.messages import BAD_REQUEST
from supervisor.workshop import Workshop

_OWN_LINES = {"null_byte": NULL_BYTE_IN_INPUT, "bad_request": BAD_REQUEST}
"""Endings that the administrator looks for by a message of their own."""


def write_end(
    shop: Workshop,
    sid: str,
    *,
    client: str,
    request: Request | None,
    ending: str,
    reason: str,
    seconds: float,
    retrieved: int,
    deleted: int,
    received: int,
    sent: int,
) -> None:
    """The whole session in one line, and the counters. `seconds`: how long it was."""
    if ending in _OWN_LINES:
        shop.log(_OWN_LINES[ending], sid, client=client, reason=reason)
    shop.count("retrieved", None, "", retrieved)
    shop.count("deleted", None, "", deleted)
    shop.count("received_bytes", "client", "", received)
    shop.count("sent_bytes", "client", "", sent)
    shop.log(
        SESSION_END,
        sid,
        client=client,
        mailbox=request.mailbox if request else "",
        flags=request.flags if request else "",
        ending=ending,
        seconds=round(seconds, 3),
        retrieved=retrieved,
        deleted=deleted,
        received=received,
        sent=sent,
    )
