"""The two connections that a relay joins: what is held back for each, who is read, what would be lost, how they end.

What a slow reader has not taken is at most one piece or one pipe for each session, however large the mail. Commands and
short answers leave at the end of the turn in which they came (`Poller.later`), and the answer to QUIT together with the
end of the connection, if the backend has closed by then. Reading, and passing on, stands in relay.py, on top of this.
"""

import fcntl
import socket
import sys
import termios

from popular.net.channel import BROKEN, ENDED, Channel
from popular.net.splice import Pipes, Transfer
from popular.protocol.watch import MAIL_END, CommandWatch
from popular.proxy.session.events import SessionEvents
from supervisor.runtime.loop import READ, WRITE
from supervisor.serving.session import CutCost
from supervisor.sockets.sources import keep_alive
from supervisor.system import EventTaker, Poller

_MOMENT_SECONDS = 1.0
_STALLED_SECONDS = 30.0
"""A mail that was quiet for so long is not waited for any more."""
LINGER_SECONDS = 5.0
"""A backend in TLS that has said nothing for so long has no more answers for a client that has gone."""


class RelayPair(EventTaker):
    """One pair. Invariant: a side is read only while nothing is held back for the other."""

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

    # Who is read

    def _balance(self) -> None:
        """Each side is read while nothing is held back for the other, and written to while something is for it."""
        if self._over:
            return
        client_lags = (bool(self._for_client) and not self._flush_scheduled) or self._transfer is not None
        backend_lags = bool(self._for_backend) and not self._flush_scheduled
        self._reads_backend = not client_lags
        self._reads_client = not backend_lags and not self._client_done
        gone_if_broken = self._client_done and not backend_lags
        self._client.want(
            (READ if self._reads_client else BROKEN if gone_if_broken else 0) | (WRITE if client_lags else 0)
        )
        self._backend.want((READ | ENDED if self._reads_backend else 0) | (WRITE if backend_lags else 0))

    # What is held leaves

    def _flush_later(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._client.later(self)

    def turn_over(self) -> None:
        """See EventTaker."""
        if not self._flush_scheduled or self._over:
            return
        self._flush_scheduled = False
        owner = self._owner
        try:
            if self._for_backend:
                self._send_to_backend()
            if self._for_client:
                self._send_to_client()
            if self._for_client or self._for_backend:
                self._balance()
        except Exception as error:
            owner.fault(error)

    def _send_to_backend(self) -> None:
        held = self._for_backend
        try:
            sent = self._backend.send(held)
            self._for_backend = b"" if sent == len(held) else held[sent:]
        except OSError:
            self._for_backend = b""  # what the backend said before it broke is still to be read; then its end is seen
        if self._client_done and not self._for_backend:
            self._tell_end_of_client()

    def _send_to_client(self) -> None:
        held = self._for_client
        try:
            sent = self._client.send(held)
            self._for_client = b"" if sent == len(held) else held[sent:]
        except OSError:
            self._for_client = b""
            self._end("client_reset")

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

    # One side has said its last

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
        """The client sends nothing more, and the backend goes on in TLS until it has been quiet for LINGER_SECONDS.

        TLS has no half that could be closed alone (Python's `unwrap` would lose what comes at that moment), so such a
        backend is not told. Behind QUIT it closes by itself, and takes the time it wants.
        """
        return self._client_done and self._backend.tls and not self.watch.quit

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
        if watch.quit:
            return CutCost.COMMITTING
        on_its_way = watch.is_in_line or self._client.pending() or unread(self._client.fd) > 0
        if watch.deletes:
            return CutCost.COMMITTING if on_its_way else CutCost.UNCOMMITTED
        holds = bool(self._for_client or self._for_backend) or self._transfer is not None
        patience = _STALLED_SECONDS if watch.fetches and self._mail_end < len(MAIL_END) else _MOMENT_SECONDS
        busy = holds or watch.open or on_its_way or self._client.now() - self.last_activity < patience
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
