"""Joins client and backend: passes bytes both ways and holds back whoever is faster, until one side closes.

What a slow reader has not taken is at most one piece or one pipe for each session, however large the mail. Commands
and short answers leave at the end of the turn in which they came (`Poller.later`). The client's stream is looked at for
QUIT and DELE, and is otherwise untouched. This is all that an ordinary session needs; how a large mail is moved, and
how the two end, is the class below this one (relay_pair.py).
"""

from popular.net.channel import BROKEN, ENDED
from popular.protocol.lines import NullByte
from popular.protocol.watch import seen_of_mail_end
from popular.proxy.session.relay_pair import ROUNDS, RelayPair
from supervisor.runtime.loop import READ, WRITE

_COMMANDS = 1 << 12
"""Octets of the client at a time: it sends little, and small buffers are cheaper to get."""
_SHORT = 1 << 12
"""Octets of an answer that is worth waiting for the others' of the turn; a mail is not."""


class Relay(RelayPair):
    """What passes between the two. Invariant: a side is read only while nothing is held back for the other."""

    __slots__ = ()

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
                self.watch.open = 0
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
        self._read_on_backend()

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
        for _ in range(ROUNDS):
            if not self._reads_backend or not self._read_backend():
                return

    def _read_pending_client(self) -> None:
        """Octets that OpenSSL has decrypted already do not make the socket readable: they are fetched here."""
        while self._reads_client and self._client.pending():
            self._read_client()

    def _read_on_backend(self) -> None:
        """Octets that OpenSSL has decrypted already do not make the socket readable: they are fetched here."""
        if self._reads_backend and self._backend.pending():
            self._read_much()
