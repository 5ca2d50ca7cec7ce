"""What is written about a session of `pserv` when it is over: its one log line, and what it counts for."""

from popular.messages import NULL_BYTE_IN_INPUT, SESSION_END
from popular.protocol.xpop import Request
from popular.store.messages import BAD_REQUEST
from supervisor.serving.context import WorkerContext

_OWN_LINES = {"null_byte": NULL_BYTE_IN_INPUT, "bad_request": BAD_REQUEST}
"""Endings that the administrator looks for by a message of their own."""


def write_end(
    context: WorkerContext,
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
    if "NET" in context.log.options:
        context.log.debug("NET", "closed", sid, client=client, reason=reason or ending, received=received, sent=sent)
    if ending in _OWN_LINES:
        context.log(_OWN_LINES[ending], sid, client=client, reason=reason)
    context.count("retrieved", None, "", amount=retrieved)
    context.count("deleted", None, "", amount=deleted)
    context.count("received_bytes", "client", "", amount=received)
    context.count("sent_bytes", "client", "", amount=sent)
    context.log(
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
