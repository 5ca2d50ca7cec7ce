"""The two connections that a relay joins: how they are taken over, how a large mail is moved, how one of them ends and
then both, and what would be lost if they were cut.

When a piece is as large as it can be (a large mail) and both legs are plain, the kernel moves the rest (splice). The
answer to QUIT leaves together with the end of the connection, if the backend has closed by then. Reading, and passing
on, stands in relay.py, on top of this.
"""

import fcntl
import socket
import sys
import termios

from popular.net.channel import Channel
from popular.net.make import transfer_of
from popular.net.splice import Pipes, Transfer
from popular.protocol.watch import MAIL_END, CommandWatch
from popular.proxy.session.events import SessionEvents
from supervisor.serving.session import CutCost
from supervisor.sockets.sources import keep_alive
from supervisor.system import EventTaker, Poller

_MOMENT_SECONDS = 1.0
_STALLED_SECONDS = 30.0
"""A mail that was quiet for so long is not waited for any more."""
ROUNDS = 16
"""Pieces of one mail that are moved before other sessions get their turn."""
LINGER_SECONDS = 5.0
"""A backend that has said nothing for so long has no more answers for a client that has gone."""


class RelayPair(EventTaker):
    """One pair."""

    __slots__ = (
        "_backend",
        "_client",
        "_client_done",
        "_flush_scheduled",
        "_for_backend",
        "_for_client",
        "_keepalive_on",
        "_mail_end",
        "_over",
        "_owner",
        "_pipes",
        "_plain",
        "_reads_backend",
        "_reads_client",
        "_transfer",
        "from_client",
        "last_activity",
        "to_client",
        "watch",
    )

    def __init__(self, owner: SessionEvents, core: Poller, pipes: Pipes) -> None:
        """`take_over` follows at once. The owner hears of the end once, unless `close` comes first."""
        self._pipes = pipes
        self._owner = owner
        self._over = False
        self._keepalive_on = False
        """The kernel watches the connection to the backend."""
        self._flush_scheduled = False
        """What is held leaves at the end of this turn: nobody lags yet."""
        self._for_client = b""
        self._for_backend = b""
        self._transfer: Transfer | None = None
        self._mail_end = 0
        """How many octets of a mail's end have come; all of them: the last one that was asked for is complete."""
        self.last_activity = core.clock.now
        self.from_client = 0
        self.to_client = 0
        self.watch = CommandWatch()

    def take_over(self, client: Channel, backend: Channel, client_done: bool) -> None:
        """From now on both channels are worked from here. `client_done`: the client sends nothing more."""
        self._client = client
        self._backend = backend
        self._plain = not (client.tls or backend.tls)
        self._client_done = client_done
        self._reads_client = not client_done
        self._reads_backend = True
        client.hand_to(self)
        backend.hand_to(self)

    def close(self) -> None:
        """Gives the pipe back, leaves the backend without a word (but TLS is ended properly), and lets go of the
        session, whose the client's channel is. What came in this turn has still to leave, and ahead of the end: that
        may be a reset, by which the kernel drops what it holds back.
        """
        if self._flush_scheduled:
            self._flush_scheduled = False
            _send_what_goes(self._backend, self._for_backend)
            _send_what_goes(self._client, self._for_client)
        self._over = True
        self._reads_client = self._reads_backend = False
        self._owner = None  # type: ignore[assignment]
        if self._transfer is not None:
            self._transfer.close()
            self._transfer = None
        backend = self._backend
        if backend.fd >= 0:
            if backend.tls:
                backend.end_sending()
            backend.close()

    def _end(self, ending: str) -> None:
        if not self._over:
            self._over = True
            self._reads_client = self._reads_backend = False
            self._owner.relay_ended("quit" if ending == "backend_closed" and self.watch.quit_answered else ending)

    # A large mail

    def _splice(self) -> None:
        """The kernel moves it, as long as there is more and the client takes it. Whom to read is to be asked anew then
        (`Relay._balance`).
        """
        transfer = self._transfer
        if transfer is None:
            try:
                transfer = self._transfer = transfer_of(self._pipes, self._backend, self._client)
            except OSError:
                return  # no descriptor is left for a pipe: nobody's fault here, and it is read piece by piece
        for _ in range(ROUNDS):
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
        self.watch.open = 0

    def _empty(self, transfer: Transfer) -> bool:
        """Whether the client has taken all that is in the pipe."""
        try:
            return transfer.empty(self._client.fd)
        except OSError:
            self._end("client_reset")
            return False

    # One side has said its last

    def _flush_last_to_client(self) -> bool:
        """Whether the client has taken all that came before the end, which follows. Else the end is read once more."""
        held = self._for_client
        if held:
            try:
                sent = self._client.send_last(held)
            except OSError:
                self._end("client_reset")
                return False
            self._for_client = b"" if sent == len(held) else held[sent:]
        return not self._for_client

    def _tell_end_of_client(self) -> None:
        """The client sends nothing more; the backend hears of it and may still answer, unless it `lingers`.

        QUIT is never said for the client: deletions are the client's to commit.
        """
        if self._backend.tls:
            return
        try:
            self._backend.end_sending()
        except OSError:
            pass

    @property
    def lingers(self) -> bool:
        """The client sends nothing more, has taken all, and nothing is owed to him as far as we know: the backend goes
        on until it has been quiet for LINGER_SECONDS.

        In TLS it has not been told: TLS has no half that could be closed alone (Python's `unwrap` would lose what comes
        at that moment). While QUIT is not answered the backend takes the time it wants; so does one that was told, and
        has a command to answer.
        """
        if not self._client_done or not self._reads_backend or self._for_client:
            return False
        return self.watch.quit_answered if self.watch.quit else self._backend.tls or not self.watch.open

    def _see_end_of_backend(self) -> None:
        """All that it has said was read."""
        if self._flush_last_to_client():
            self._end(self._why_both_are_done() if self._client_done and not self.watch.quit else "backend_closed")

    def _why_both_are_done(self) -> str:
        """If a client that had closed its half is reset, the backend's end may be heard of before that."""
        is_reset = self._client.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        return "client_reset" if is_reset else "client_closed"

    # In between

    def cut_cost(self) -> CutCost:
        """What would be lost. A mail seems to be under way where something is held back, or was passed on just now, or
        a command is not answered; and what the client has sent and we have not read may be a QUIT.
        """
        watch = self.watch
        holds = bool(self._for_client or self._for_backend) or self._transfer is not None
        if watch.quit and (holds or not watch.quit_answered):
            return CutCost.COMMITTING
        is_unread = self._client.pending() or unread(self._client.fd) > 0
        if watch.deletes:
            return CutCost.COMMITTING if is_unread or watch.may_become_quit else CutCost.UNCOMMITTED
        on_its_way = is_unread or watch.is_in_line
        patience = _STALLED_SECONDS if watch.fetches and self._mail_end < len(MAIL_END) else _MOMENT_SECONDS
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


def _send_what_goes(channel: Channel, held: bytes) -> None:
    """Once, whatever comes of it."""
    try:
        if held:
            channel.send(held)
    except OSError:
        pass


def unread(fd: int) -> int:
    """Octets that have come and were not read yet."""
    held = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, held)
    return int.from_bytes(held, sys.byteorder)
