"""What a relay needs for a large mail, for what OpenSSL holds back, and while it lasts: a plain login passes it by.

When a piece is as large as it can be (a large mail) and both legs are plain, the kernel moves the rest (splice). What
is under way tells what would be lost if the two were cut now. The base class of `Relay` (relay.py), which reads and
passes on: it holds what both work with.
"""

import fcntl
import socket
import sys
import termios

from popular.net.channel import Channel
from popular.net.make import transfer_of
from popular.net.splice import Pipes, Transfer
from popular.protocol.watch import MAIL_END, CommandWatch
from supervisor.serving.session import CutCost
from supervisor.sockets.sources import keep_alive
from supervisor.system import EventTaker

_MOMENT_SECONDS = 1.0
_STALLED_SECONDS = 30.0
"""A mail that was quiet for so long is not waited for any more."""
_ROUNDS = 16
"""Pieces of one mail that are moved before other sessions get their turn."""
LINGER_SECONDS = 5.0
"""A backend that has said nothing for so long has no more answers for a client that has gone."""


class BulkRelay(EventTaker):
    """Client and backend, as far as much is passed on, or for long."""

    __slots__ = (
        "_backend",
        "_client",
        "_client_eof",
        "_for_backend",
        "_for_client",
        "_keepalive_on",
        "_mail_end",
        "_pipes",
        "_plain",
        "_reads_backend",
        "_reads_client",
        "_transfer",
        "last_activity",
        "to_client",
        "watch",
    )

    def _set_up(self, pipes: Pipes, now: float) -> None:
        self._for_client = b""
        self._for_backend = b""
        self.last_activity = now
        self.to_client = 0
        self.watch = CommandWatch()
        self._pipes = pipes
        self._transfer: Transfer | None = None
        self._mail_end = 0
        """How many octets of a mail's end have come; all of them: the last one that was asked for is complete."""
        self._keepalive_on = False
        """The kernel watches the connection to the backend."""

    def _join(self, client: Channel, backend: Channel, client_eof: bool) -> None:
        self._client = client
        self._backend = backend
        self._plain = not (client.tls or backend.tls)
        self._client_eof = client_eof
        self._reads_client = not client_eof
        self._reads_backend = True

    # What the subclass has (relay.py)

    def _read_client(self) -> None:
        """Passes a piece on."""
        raise NotImplementedError

    def _read_backend(self) -> bool:
        """Passes a piece on, and says whether it was as large as can be."""
        raise NotImplementedError

    def _balance(self) -> None:
        """Whom to read is asked anew."""
        raise NotImplementedError

    def _end(self, ending: str) -> None:
        raise NotImplementedError

    # More than a piece

    def _read_much(self) -> None:
        """A large mail goes on: moved by the kernel, or through TLS piece by piece.

        After QUIT it is read, for somewhere after it stands the answer to QUIT.
        """
        if self._plain:
            if self._reads_backend and not self.watch.quit:
                self._splice()
                self._balance()
            return
        for _ in range(_ROUNDS):
            if not self._reads_backend or not self._read_backend():
                return

    def _splice(self) -> None:
        """The kernel moves it, as long as there is more and the client takes it. Whom to read is to be asked anew then
        (`_balance`).
        """
        transfer = self._transfer
        if transfer is None:
            try:
                transfer = self._transfer = transfer_of(self._pipes, self._backend, self._client)
            except OSError:
                return  # no descriptor is left for a pipe: nobody's fault here, and it is read piece by piece
        for _ in range(_ROUNDS):
            try:
                count = 0 if self.watch.quit else transfer.fill(self._backend.fd)
            except OSError:
                count = 0  # the backend broke: that is seen when it is read
            if not count:
                break
            self.to_client += count
            self._mail_end = 0
            if not self._empty(transfer):
                return
        self.last_activity = self._client.now()
        transfer.close()
        self._transfer = None
        self.watch.spoke()

    def _empty(self, transfer: Transfer) -> bool:
        """Whether the client has taken all that is in the pipe."""
        try:
            return transfer.empty(self._client.fd)
        except OSError:
            self._end("client_reset")
            return False

    # What OpenSSL has decrypted already does not make the socket readable: it is fetched here

    def _read_pending_client(self) -> None:
        while self._reads_client and self._client.pending():
            self._read_client()

    def _read_pending_backend(self) -> None:
        if self._reads_backend and self._backend.pending():
            self._read_much()

    # While it lasts

    @property
    def _is_in_mail(self) -> bool:
        """The end of a mail that was asked for has not been seen; of one that the kernel moved it never is."""
        return self.watch.fetches and self._mail_end < len(MAIL_END)

    @property
    def lingers(self) -> bool:
        """The client sends nothing more, has taken all, and nothing is owed to him as far as we know: the backend goes
        on until it has been quiet for LINGER_SECONDS.

        In TLS it has not been told: TLS has no half that could be closed alone (Python's `unwrap` would lose what comes
        at that moment). While QUIT is not answered, for certain, the backend takes the time it wants; so does one that
        was told, and has a command to answer, or the rest of a mail to give.
        """
        watch = self.watch
        if not self._client_eof or not self._reads_backend or self._for_client or self._for_backend:
            return False
        if watch.quit:
            return watch.quit_surely_answered
        return self._backend.tls or not (watch.open or watch.unsure or self._is_in_mail)

    def cut_cost(self) -> CutCost:
        """What would be lost. A mail seems to be under way where something is held back, or was passed on just now, or
        a command is not answered; and what the client has sent and we have not read may be a QUIT.
        """
        watch = self.watch
        holds = bool(self._for_client or self._for_backend) or self._transfer is not None
        if watch.quit and (holds or not watch.quit_surely_answered):
            return CutCost.COMMITTING
        is_unread = self._client.pending() or unread(self._client.fd) > 0
        if watch.deletes:
            return CutCost.COMMITTING if is_unread or watch.may_become_quit else CutCost.UNCOMMITTED
        on_its_way = is_unread or watch.is_in_line
        patience = _STALLED_SECONDS if self._is_in_mail else _MOMENT_SECONDS
        busy = holds or watch.awaits_answer or on_its_way or self._client.now() - self.last_activity < patience
        return CutCost.IN_TRANSFER if busy else CutCost.IDLE

    def keep_alive(self) -> None:
        """To be called once in a while: a connection that lasts is watched by the kernel, one of a moment is not."""
        if self._keepalive_on or self._backend.fd < 0:
            return
        self._keepalive_on = True
        connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, self._backend.fd)
        try:
            keep_alive(connection)
        finally:
            connection.detach()


def unread(fd: int) -> int:
    """Octets that have come and were not read yet."""
    held = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, held)
    return int.from_bytes(held, sys.byteorder)
