"""Joins client and backend: passes bytes both ways and holds back whoever is faster, until one side closes.

What a slow reader has not taken is at most one piece or one pipe for each session, however large the mail. Commands
and short answers leave at the end of the turn in which they came (`Poller.later`). The client's stream is looked at for
QUIT and DELE, and is otherwise untouched. The answer to QUIT leaves together with the end of the connection, if the
backend has closed by then. This is all that an ordinary session needs; how a large mail is moved, and what would be
lost if the two were cut, is the base class's (bulk_relay.py).
"""

import socket

from popular.net.channel import BROKEN, ENDED, Channel
from popular.net.splice import Pipes
from popular.protocol.lines import NullByte
from popular.protocol.watch import seen_of_mail_end
from popular.proxy.session.bulk_relay import BulkRelay
from popular.proxy.session.events import SessionEvents
from supervisor.runtime.loop import READ, WRITE
from supervisor.system import Poller

_CLIENT_READ_SIZE = 1 << 12
"""Octets of the client at a time: it sends little, and small buffers are cheaper to get."""
_SHORT = 1 << 12
"""Octets of an answer that is worth waiting for the others' of the turn; a mail is not."""


class Relay(BulkRelay):
    """Client and backend, joined. Invariant: a side is read only while nothing is held back for the other."""

    __slots__ = ("_flush_scheduled", "_over", "_owner", "from_client")

    def __init__(self, owner: SessionEvents, core: Poller, pipes: Pipes) -> None:
        """`take_over` follows at once. The owner hears of the end once, unless `close` comes first."""
        self._set_up(pipes, core.clock.now)
        self._owner = owner
        self._over = False
        self._flush_scheduled = False
        """What is held leaves at the end of this turn: nobody lags yet."""
        self.from_client = 0

    def take_over(self, client: Channel, backend: Channel, client_eof: bool) -> None:
        """From now on both channels are worked from here. `client_eof`: the client sends nothing more."""
        self._join(client, backend, client_eof)
        client.hand_to(self)
        backend.hand_to(self)

    def begin(self, to_client: bytes, to_backend: bytes) -> None:
        """Passes on what was held back until now, and starts."""
        self._give_client(to_client)
        if to_backend and not self._over:
            self._give_backend(to_backend)
        if self._client_eof and not self._for_backend:
            self._tell_client_eof()
        self._balance()
        if not self._plain:
            self._read_pending_client()
            self._read_pending_backend()

    def ready(self, fd: int, events: int) -> None:
        if fd == self._client.fd:
            self._on_client(events)
        else:
            self._on_backend(events)

    # Client → backend

    def _on_client(self, events: int) -> None:
        owner = self._owner
        try:
            if events != READ:
                if events & WRITE:
                    self._client_takes_more()
                if not events & ~WRITE:
                    return
            if self._reads_client:
                self._read_client()
                if not self._plain:
                    self._read_pending_client()
            elif events & BROKEN:
                self._end("client_reset")
        except Exception as error:
            owner.fault(error)

    def _read_client(self) -> None:
        try:
            piece = self._client.receive(_CLIENT_READ_SIZE)
        except OSError:
            self._end("client_reset")
            return
        if piece:
            self._give_backend(piece)
        elif piece is not None:
            self._client_eof = True
            if not self._for_backend:
                self._tell_client_eof()
            self._balance()

    def _give_backend(self, piece: bytes) -> None:
        self.last_activity = self._client.now()
        self.from_client += len(piece)
        try:
            self.watch.see(piece)
        except NullByte:
            self._end("null_byte")
            return
        self._for_backend = self._for_backend + piece if self._for_backend else piece
        if self._plain or len(self._for_backend) < _SHORT:  # in TLS one turn may bring any number of pieces
            self._flush_later()
            return
        self._send_to_backend()
        if self._for_backend:
            self._flush_scheduled = False
            self._balance()

    def _backend_takes_more(self) -> None:
        self._send_to_backend()
        self.last_activity = self._client.now()
        if not self._for_backend:
            self._balance()
            self._read_pending_client()

    # Backend → client

    def _on_backend(self, events: int) -> None:
        owner = self._owner
        try:
            if events & WRITE:
                self._backend_takes_more()
                if not events & ~WRITE:
                    return
            if self._reads_backend:
                is_much = self._read_backend()
                if self.watch.quit and self._reads_backend:
                    # It closes after its answer to QUIT; to see that at once saves being woken for it.
                    if events & ENDED and not is_much and not self._backend.tls:
                        self._see_end_of_backend()
                    else:
                        is_much = self._read_backend()
                if is_much:
                    self._read_much()
        except Exception as error:
            owner.fault(error)

    def _read_backend(self) -> bool:
        """Passes a piece on. Says whether it was as large as can be, so that more of it is likely to be there."""
        backend = self._backend
        try:
            piece = backend.receive(backend.most)
        except OSError:
            piece = b""
        if piece:
            if self.watch.quit:
                self.watch.hear(piece)
            else:
                self.watch.spoke(piece)
            self._give_client(piece)
            return len(piece) == backend.most
        if piece is not None:
            self._see_end_of_backend()
        return False

    def _give_client(self, piece: bytes) -> None:
        self.last_activity = self._client.now()
        self.to_client += len(piece)
        if self.watch.fetches:
            self._mail_end = seen_of_mail_end(self._mail_end, piece)
        self._for_client = self._for_client + piece if self._for_client else piece
        if len(piece) < _SHORT:
            self._flush_later()
            return
        self._send_to_client()
        if self._for_client:
            self._flush_scheduled = False
            self._balance()

    def _client_takes_more(self) -> None:
        if self._for_client:
            self._send_to_client()
        elif self._transfer is not None and self._empty(self._transfer):
            self._splice()
        if self._over:
            return
        self.last_activity = self._client.now()
        self._balance()
        self._read_pending_backend()

    # Who is read

    def _balance(self) -> None:
        """Each side is read while nothing is held back for the other, and written to while something is for it."""
        if self._over:
            return
        client_lags = (bool(self._for_client) and not self._flush_scheduled) or self._transfer is not None
        backend_lags = bool(self._for_backend) and not self._flush_scheduled
        self._reads_backend = not client_lags
        self._reads_client = not backend_lags and not self._client_eof
        gone_if_broken = self._client_eof and not backend_lags
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
        if self._client_eof and not self._for_backend:
            self._tell_client_eof()

    def _send_to_client(self) -> None:
        held = self._for_client
        try:
            sent = self._client.send(held)
            self._for_client = b"" if sent == len(held) else held[sent:]
        except OSError:
            self._for_client = b""
            self._end("client_reset")

    # The end

    def _tell_client_eof(self) -> None:
        """The client sends nothing more; the backend hears of it and may still answer, unless it `lingers`.

        QUIT is never said for the client: deletions are the client's to commit.
        """
        if self._backend.tls:
            return
        try:
            self._backend.end_sending()
        except OSError:
            pass

    def _see_end_of_backend(self) -> None:
        """All that it has said was read."""
        if self._flush_last_to_client():
            self._end(self._ending_of_backend())

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

    def _ending_of_backend(self) -> str:
        """A backend that closes after its answer to QUIT is how a session ends: by `quit`. One that closes after a
        client that had closed before it, without QUIT, does what that client has begun; any other one has hung up.
        """
        if self.watch.quit_answered:
            return "quit"
        if not self._client_eof or self.watch.quit:
            return "backend_closed"
        # If a client that had closed its half is reset, the backend's end may be heard of before that.
        is_reset = self._client.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        return "client_reset" if is_reset else "client_closed"

    def _end(self, ending: str) -> None:
        """Tells the owner, who closes."""
        if not self._over:
            self._over = True
            self._reads_client = self._reads_backend = False
            self._owner.relay_ended(ending)

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


def _send_what_goes(channel: Channel, held: bytes) -> None:
    """Once, whatever comes of it."""
    try:
        if held:
            channel.send(held)
    except OSError:
        pass
