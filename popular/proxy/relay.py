"""Joins client and backend: passes bytes both ways and holds back whoever is faster, until one side closes.

Small pieces go through one buffer that all sessions of a worker share; when the backend fills it (a large mail) and
both legs are plain, the kernel moves the bytes (splice). What a slow reader has not taken is at most one buffer or
one pipe for each session, however large the mail. The client's stream is looked at for QUIT and DELE, and otherwise
untouched.
"""

import asyncio
import time
from collections.abc import Callable

from popular.net.channel import Channel
from popular.net.splice import Pipes, Transfer
from popular.protocol.lines import NullByte
from popular.protocol.watch import CommandWatch

_BUFFER_SIZE = 1 << 16
_ROUNDS = 16
"""Pieces of one mail that are moved before other sessions get their turn."""

_buffer = memoryview(bytearray(_BUFFER_SIZE))
"""Shared by all sessions of a process; nothing is left in it between two callbacks."""

Over = Callable[[str], None]


class Relay:
    """One pair. Invariant: a side is read only while nothing is held back for the other."""

    __slots__ = (
        "_backend",
        "_client",
        "_client_done",
        "_ending",
        "_for_backend",
        "_for_client",
        "_loop",
        "_over",
        "_pipes",
        "_transfer",
        "active",
        "from_client",
        "to_client",
        "watch",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: Channel,
        backend: Channel,
        pipes: Pipes,
        over: Over,
        client_done: bool,
    ) -> None:
        """`over(ending)` is called once, unless `close` comes first. Both channels' readers must be free."""
        self._loop = loop
        self._client = client
        self._backend = backend
        self._pipes = pipes
        self._over = over
        self._client_done = client_done
        self._for_client = b""
        self._for_backend = b""
        self._transfer: Transfer | None = None
        self._ending = ""
        self.active = time.monotonic()
        self.from_client = 0
        self.to_client = 0
        self.watch = CommandWatch()

    def begin(self, to_client: bytes, to_backend: bytes) -> None:
        """Passes on what is in hand and starts."""
        self.to_client += len(to_client)
        self._for_client = to_client
        self._loop.add_reader(self._backend.fd, self._from_backend)
        self._client_writable()
        if self._ending:
            return
        self._start_reading_client()
        if to_backend:
            self._pass_on(memoryview(to_backend))
        if self._client_done and not self._for_backend and not self._ending:
            self._end_of_client()

    def close(self) -> None:
        """Lets go of the descriptors' callbacks and of the pipe; the channels are the session's."""
        self._ending = self._ending or "closed"
        for channel in (self._client, self._backend):
            self._loop.remove_reader(channel.fd)
            self._loop.remove_writer(channel.fd)
        if self._transfer is not None:
            self._transfer.close()
            self._transfer = None

    def _end(self, ending: str) -> None:
        if not self._ending:
            self._ending = "quit" if self.watch.quit and ending == "backend_closed" else ending
            self._over(self._ending)

    # Client → backend

    def _start_reading_client(self) -> None:
        if not self._client_done:
            self._loop.add_reader(self._client.fd, self._from_client)

    def _from_client(self) -> None:
        try:
            count = self._client.receive_into(_buffer)
        except OSError:
            self._end("client_reset")
            return
        if count is None:
            return
        if count == 0:
            self._client_done = True
            self._loop.remove_reader(self._client.fd)
            self._end_of_client()
            return
        self._pass_on(_buffer[:count])
        if self._client.pending and not self._for_backend and not self._ending:
            self._loop.call_soon(self._from_client_again)

    def _from_client_again(self) -> None:
        if not self._ending and not self._for_backend and not self._client_done:
            self._from_client()

    def _pass_on(self, piece: memoryview) -> None:
        self.active = time.monotonic()
        self.from_client += len(piece)
        try:
            self.watch.see(bytes(piece))
            sent = self._backend.send(piece)
        except NullByte:
            self._end("null_byte")
            return
        except OSError:
            # What the backend said before it broke is still to be read; its end follows.
            return
        if sent < len(piece):
            self._for_backend = bytes(piece[sent:])
            self._loop.remove_reader(self._client.fd)
            self._loop.add_writer(self._backend.fd, self._backend_writable)

    def _backend_writable(self) -> None:
        try:
            self._for_backend = self._for_backend[self._backend.send(self._for_backend) :]
        except OSError:
            self._for_backend = b""
        if not self._for_backend:
            self._loop.remove_writer(self._backend.fd)
            if self._client_done:
                self._end_of_client()
            else:
                self._start_reading_client()
                if self._client.pending:
                    self._loop.call_soon(self._from_client_again)

    def _end_of_client(self) -> None:
        """The client sends nothing more; the backend hears of it, and may still answer.

        We never say QUIT for the client.
        """
        try:
            self._backend.end_sending()
        except OSError:
            pass

    # Backend → client

    def _from_backend(self) -> None:
        try:
            count = self._backend.receive_into(_buffer)
        except OSError:
            count = 0
        if count is None:
            return
        if count == 0:
            self._end_of_backend()
            return
        self.active = time.monotonic()
        self.to_client += count
        piece = _buffer[:count]
        try:
            sent = self._client.send(piece)
        except OSError:
            self._end("client_reset")
            return
        if sent < count:
            self._for_client = bytes(piece[sent:])
            self._hold_backend()
        elif count == _BUFFER_SIZE and not (self._client.tls or self._backend.tls):
            self._splice()
        elif self._backend.pending:
            self._loop.call_soon(self._from_backend_again)

    def _from_backend_again(self) -> None:
        if not self._ending and not self._for_client and self._transfer is None:
            self._from_backend()

    def _hold_backend(self) -> None:
        self._loop.remove_reader(self._backend.fd)
        self._loop.add_writer(self._client.fd, self._client_writable)

    def _splice(self) -> None:
        """A large mail: lets the kernel move it, as long as there is more and the client takes it."""
        try:
            if self._transfer is None:
                self._transfer = Transfer(self._pipes)
            for _ in range(_ROUNDS):
                count = self._transfer.fill(self._backend.fd)
                if not count:
                    break
                self.to_client += count
                if not self._transfer.empty(self._client.fd):
                    self._hold_backend()
                    return
        except OSError:
            self._end("client_reset")
            return
        self.active = time.monotonic()
        self._transfer.close()
        self._transfer = None

    def _client_writable(self) -> None:
        try:
            if self._for_client:
                self._for_client = self._for_client[self._client.send(self._for_client) :]
            if self._for_client or (self._transfer is not None and not self._transfer.empty(self._client.fd)):
                self._hold_backend()
                return
        except OSError:
            self._end("client_reset")
            return
        self.active = time.monotonic()
        self._loop.remove_writer(self._client.fd)
        self._loop.add_reader(self._backend.fd, self._from_backend)
        if self._transfer is not None:
            self._splice()
        elif self._backend.pending:
            self._loop.call_soon(self._from_backend_again)

    def _end_of_backend(self) -> None:
        """Nothing is held back for the client here: the backend is read only then."""
        self._end("client_closed" if self._client_done and not self.watch.quit else "backend_closed")
