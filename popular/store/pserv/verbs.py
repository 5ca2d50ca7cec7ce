"""What the machine of a `pserv` session can have done: the only way in which it touches the world.

A verb never calls the machine: what comes of it is told when the entry that called it has returned. What is sent during
one entry leaves in one piece. After `end` every verb does nothing.
"""

from collections.abc import Sequence
from typing import Protocol

from popular.protocol.xpop import Request
from popular.store.maildir.listing import StoredMessage
from supervisor.runtime.messages import Message as LogMessage


class Verbs(Protocol):
    """Carried out by the session, recorded by tests."""

    def send(self, reply: bytes) -> None:
        """Sends replies to the client, or a piece of a listing."""

    def send_content(self, piece: bytes) -> None:
        """Sends a piece of a message, which is not shown with the dialogue."""

    def open_mailbox(self, request: Request) -> None:
        """Has the mailbox listed: `opened` or `cannot_open`. The session bears the request's name from now on, and its
        own time begins."""

    def open_message(self, message: StoredMessage, lines: int | None) -> None:
        """Has the message opened, and its first piece read: `piece`, `gone` or `unreadable`.

        `lines`: only the header and so many lines of the body; None: all.
        """

    def read_on(self) -> None:
        """Has the next piece of the open message read: `piece` or `broke_off`."""

    def update(self, deleted: Sequence[StoredMessage], read: Sequence[StoredMessage]) -> None:
        """Has the deleted messages removed and the read ones moved: `updated` or `cannot_update`."""

    def expect_within(self, seconds: float) -> None:
        """Has `expired("step")` told after so long; this takes the place of the limit before."""

    def expect_nothing(self) -> None:
        """What was expected is there."""

    def note(self, message: LogMessage, **fields: object) -> None:
        """Writes a line of this session's into the log."""

    def count(self, counter: str) -> None:
        """Counts one more."""

    def end(self, ending: str, reason: str) -> None:
        """The session is over, now. `reason` is for the log."""
