"""Joins client and backend: passes bytes both ways and holds back whoever is faster, until one side closes.

What a slow reader has not taken is at most one piece or one pipe for each session, however large the mail. When a
piece is as large as it can be (a large mail) and both legs are plain, the kernel moves the rest (splice). The client's
stream is looked at for QUIT and DELE, and is otherwise untouched.

Commands and short answers leave at the end of the turn in which they came (`Poller.later`), and the answer to QUIT
together with the end of the connection, if the backend has closed by then.
"""

import fcntl
import socket
import sys
import termios

from popular.net.channel import BROKEN, ENDED, Channel
from popular.net.splice import Pipes, Transfer
from popular.net.traced import transfer_of
from popular.protocol.lines import NullByte
from popular.protocol.watch import CommandWatch
from popular.proxy.session.events import SessionEvents
from supervisor.runtime.loop import READ, WRITE
from supervisor.serving.session import CutCost
from supervisor.sockets.sources import keep_alive
from supervisor.system import EventTaker, Poller

_COMMANDS = 1 << 12
"""Octets of the client at a time: it sends little, and small buffers are cheaper to get."""
_SHORT = 1 << 12
"""Octets of an answer that is worth waiting for the others' of the turn; a mail is not."""
_MAIL_END = b"\r\n.\r\n"
_ROUNDS = 16
"""Pieces of one mail that are moved before other sessions get their turn."""

_MOMENT_SECONDS = 1.0
_STALLED_SECONDS = 30.0
"""A mail that was quiet for so long is not waited for any more."""
LINGER_SECONDS = 5.0
"""A backend in TLS that has said nothing for so long has no more answers for a client that has gone."""


class Relay(EventTaker):
    """One pair. Invariant: a side is read only while nothing is held back for the other."""

    __slots__ = (
        "_backend",
        "_client",
        "_client_done",
        "_for_backend",
        "_for_client",
        "_lasts",
        "_leaves",
        "_over",
        "_owner",
        "_pipes",
        "_plain",
        "_reads_backend",
        "_reads_client",
        "_transfer",
        "_whole",
        "active",
        "from_client",
        "to_client",
        "watch",
    )

    def __init__(self, owner: SessionEvents, core: Poller, pipes: Pipes) -> None:
        """To be joined at once. The owner hears of the end once, unless `close` comes first."""
        self._pipes = pipes
        self._owner = owner
        self._over = False
        self._lasts = False
        """The kernel watches the connection to the backend."""
        self._leaves = False
        """What is held leaves at the end of this turn: nobody lags yet."""
        self._for_client = b""
        self._for_backend = b""
        self._transfer: Transfer | None = None
        self._whole = False
        """The mail that was asked for last has come to its end; False also where that was not seen."""
        self.active = core.clock.now
        self.from_client = 0
        self.to_client = 0
        self.watch = CommandWatch()

    def join(self, client: Channel, backend: Channel, client_done: bool) -> None:
        """Takes both over. `client_done`: the client sends nothing more."""
        self._client = client
        self._backend = backend
        self._plain = not (client.tls or backend.tls)
        self._client_done = client_done
        self._reads_client = not client_done
        self._reads_backend = True
        client.hand_to(self)
        backend.hand_to(self)

    def begin(self, to_client: bytes, to_backend: bytes) -> None:
        """Passes on what was held back until now, and starts."""
        self._give_client(to_client)
        if to_backend and not self._over:
            self._give_backend(to_backend)
        if self._client_done and not self._for_backend:
            self._tell_end_of_client()
        self._balance()
        if not self._plain:
            self._read_pending_client()
            self._read_on_backend()

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
        patience = _STALLED_SECONDS if watch.fetches and not self._whole else _MOMENT_SECONDS
        busy = holds or watch.open or on_its_way or self._client.now() - self.active < patience
        return CutCost.IN_TRANSFER if busy else CutCost.IDLE

    def keep_alive(self) -> None:
        """To be called once in a while: a connection that lasts is watched by the kernel, one of a moment is not."""
        if self._lasts or self._backend.fd < 0:
            return
        self._lasts = True
        connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, self._backend.fd)
        try:
            keep_alive(connection)
        finally:
            connection.detach()

    def close(self) -> None:
        """Gives the pipe back, leaves the backend without a word (but TLS is ended properly), and lets go of the
        session, whose the client's channel is. What came in this turn has
        still to leave, and ahead of the end: that may be a reset, by which the kernel drops what it holds back.
        """
        if self._leaves:
            self._leaves = False
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

    def _balance(self) -> None:
        """Each side is read while nothing is held back for the other, and written to while something is for it."""
        if self._over:
            return
        client_lags = (bool(self._for_client) and not self._leaves) or self._transfer is not None
        backend_lags = bool(self._for_backend) and not self._leaves
        self._reads_backend = not client_lags
        self._reads_client = not backend_lags and not self._client_done
        gone_if_broken = self._client_done and not backend_lags
        self._client.want(
            (READ if self._reads_client else BROKEN if gone_if_broken else 0) | (WRITE if client_lags else 0)
        )
        self._backend.want((READ | ENDED if self._reads_backend else 0) | (WRITE if backend_lags else 0))

    def _leave_later(self) -> None:
        if not self._leaves:
            self._leaves = True
            self._client.later(self)

    def turn_over(self) -> None:
        """See EventTaker."""
        if not self._leaves or self._over:
            return
        self._leaves = False
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

    def _read_pending_client(self) -> None:
        """Octets that OpenSSL has decrypted already do not make the socket readable: they are fetched here."""
        while self._reads_client and self._client.pending():
            self._read_client()

    def _read_client(self) -> None:
        try:
            piece = self._client.receive(_COMMANDS)
        except OSError:
            self._end("client_reset")
            return
        if piece:
            self._give_backend(piece)
        elif piece is not None:
            self._client_done = True
            if not self._for_backend:
                self._tell_end_of_client()
            self._balance()

    def _give_backend(self, piece: bytes) -> None:
        self.active = self._client.now()
        self.from_client += len(piece)
        try:
            self.watch.see(piece)
        except NullByte:
            self._end("null_byte")
            return
        self._for_backend = self._for_backend + piece if self._for_backend else piece
        if self._plain or len(self._for_backend) < _SHORT:  # in TLS one turn may bring any number of pieces
            self._leave_later()
            return
        self._send_to_backend()
        if self._for_backend:
            self._leaves = False
            self._balance()

    def _backend_takes_more(self) -> None:
        self._send_to_backend()
        self.active = self._client.now()
        if not self._for_backend:
            self._balance()
            self._read_pending_client()

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
                    # It closes behind its answer to QUIT; to see that at once saves being woken for it.
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
                self.watch.open = 0
            self._give_client(piece)
            return len(piece) == backend.most
        if piece is not None:
            self._see_end_of_backend()
        return False

    def _see_end_of_backend(self) -> None:
        """All that it has said was read."""
        if self._says_last():
            self._end(self._why_both_are_done() if self._client_done and not self.watch.quit else "backend_closed")

    def _why_both_are_done(self) -> str:
        """If a client that had closed its half is reset, the backend's end may be heard of before that."""
        is_reset = self._client.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        return "client_reset" if is_reset else "client_closed"

    def _says_last(self) -> bool:
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

    def _read_much(self) -> None:
        """A large mail goes on: moved by the kernel, or through TLS piece by piece.

        Behind QUIT it is read, for somewhere behind it stands the answer to QUIT.
        """
        if self._plain:
            if self._reads_backend and not self.watch.quit:
                self._splice()
            return
        for _ in range(_ROUNDS):
            if not self._reads_backend or not self._read_backend():
                return

    def _read_on_backend(self) -> None:
        """Octets that OpenSSL has decrypted already do not make the socket readable: they are fetched here."""
        if self._reads_backend and self._backend.pending():
            self._read_much()

    def _give_client(self, piece: bytes) -> None:
        self.active = self._client.now()
        self.to_client += len(piece)
        if self.watch.fetches:
            self._whole = piece.endswith(_MAIL_END)
        self._for_client = self._for_client + piece if self._for_client else piece
        if len(piece) < _SHORT:
            self._leave_later()
            return
        self._send_to_client()
        if self._for_client:
            self._leaves = False
            self._balance()

    def _splice(self) -> None:
        """A large mail: the kernel moves it, as long as there is more and the client takes it."""
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
            self._whole = False
            try:
                is_empty = transfer.empty(self._client.fd)
            except OSError:
                self._end("client_reset")
                return
            if not is_empty:
                self._balance()
                return
        self.active = self._client.now()
        transfer.close()
        self._transfer = None
        self.watch.open = 0
        self._balance()

    def _client_takes_more(self) -> None:
        try:
            if self._for_client:
                self._for_client = self._for_client[self._client.send(self._for_client) :]
            elif self._transfer is not None and self._transfer.empty(self._client.fd):
                self._splice()
        except OSError:
            self._end("client_reset")
            return
        self.active = self._client.now()
        self._balance()
        self._read_on_backend()


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
