"""What is written about a session of `pserv`: its one log line, what was odd in its mailbox, and what it counts for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from popular.messages import NULL_BYTE_IN_INPUT, SESSION_END
from popular.store.listing import Note
from popular.store.messages import BAD_REQUEST
from supervisor.workshop import Workshop

if TYPE_CHECKING:
    from popular.store.pserv.session import Session

MOST_NOTES = 20
"""Odd files of a mailbox that one session logs; a broken mailbox must not fill the log at every look."""

_OWN_LINES = {"null_byte": NULL_BYTE_IN_INPUT, "bad_request": BAD_REQUEST}
"""Endings that the administrator looks for by a message of their own."""


def tell_notes(shop: Workshop, sid: str, mailbox: str, notes: Sequence[Note]) -> None:
    """What was odd in the mailbox."""
    for note in notes[:MOST_NOTES]:
        shop.log(note.message, sid, mailbox=mailbox, file=note.file, reason=note.reason)
    if len(notes) > MOST_NOTES:
        more = notes[MOST_NOTES]
        shop.log(more.message, sid, mailbox=mailbox, file=more.file, reason=f"and {len(notes) - MOST_NOTES} more files")


def tell(shop: Workshop, session: "Session", ending: str, reason: str, seconds: float) -> None:
    """The whole story in one line, and the counters. `seconds`: how long it was."""
    machine, request = session.machine, session.machine.request
    if ending in _OWN_LINES:
        shop.log(_OWN_LINES[ending], session.sid, client=session.peer[0], reason=reason)
    shop.count("retrieved", None, "", machine.retrieved)
    shop.count("deleted", None, "", machine.deleted)
    shop.count("received_bytes", "client", "", session.from_client)
    shop.count("sent_bytes", "client", "", session.to_client)
    shop.log(
        SESSION_END,
        session.sid,
        client=session.peer[0],
        mailbox=request.mailbox if request else "",
        flags=request.flags if request else "",
        ending=ending,
        seconds=round(seconds, 3),
        retrieved=machine.retrieved,
        deleted=machine.deleted,
        received=session.from_client,
        sent=session.to_client,
    )
