"""A session's row of the table: what watchers see of it."""

import time

from popular.net.client import ClientConnection
from popular.protocol.xpop import Request
from popular.store.pserv.machine import Machine
from popular.store.pserv.phases import ASKED_NOTHING, Phase
from supervisor.serving.context import WorkerContext


class SessionRow:
    """One session's. The row itself is freed by whoever gives the token back."""

    __slots__ = ("_context", "_flags", "_mailbox", "_row_number", "_shown", "_sid", "_started")

    def __init__(self, context: WorkerContext, row_number: int, sid: str, *, started: float) -> None:
        """`started`: seconds since 1970."""
        self._context = context
        self._row_number = row_number
        self._sid = sid.encode()
        self._mailbox = self._flags = b""
        self._started = started
        self._shown = (ASKED_NOTHING, 0)

    @property
    def phase(self) -> Phase:
        """The one that is shown."""
        return self._shown[0]

    def identify(self, sid: str, request: Request) -> None:
        """The request has come; nothing is shown yet."""
        self._sid = sid.encode()
        self._mailbox, self._flags = request.mailbox.encode(), request.flags.encode()

    def show(self, machine: Machine, peer: tuple[str, int], client: ClientConnection) -> None:
        """Writes the row."""
        self._shown = (machine.phase, client.sent)
        self._context.rows.write(
            self._row_number,
            state=machine.phase,
            pid=self._context.pid,
            started=self._started,
            since=time.time(),
            sid=self._sid,
            client=peer[0].encode(),
            port=peer[1],
            mailbox=self._mailbox,
            flags=self._flags,
            retrieved=machine.retrieved,
            received=client.received,
            sent=client.sent,
        )

    def refresh(self, machine: Machine, peer: tuple[str, int], client: ClientConnection) -> None:
        """Writes the row if something has changed."""
        if self._shown != (machine.phase, client.sent):
            self.show(machine, peer, client)
