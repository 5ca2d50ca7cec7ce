"""TLS through Python's ssl module: what every Python can do, whatever OpenSSL it was built with."""

import socket
import ssl
from typing import NamedTuple

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Plain(NamedTuple):
    """What a connection in TLS is made of: a channel has the same two names, and makes the socket only when asked."""

    fd: int
    connection: socket.socket


class TlsThroughModule:
    """One end of a connection in TLS. Raises OSError (also ssl.SSLError, which is one) where it is broken."""

    __slots__ = ("about",)

    def __init__(
        self,
        context: ssl.SSLContext,
        connection: socket.socket,
        *,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Takes the socket over, which is non-blocking. Raises AttributeError later where it is not connected."""
        self.about = context.wrap_socket(
            connection,
            server_side=context.protocol is ssl.PROTOCOL_TLS_SERVER,
            do_handshake_on_connect=False,
            server_hostname=server_name,
            session=session,
        )
        """What was agreed, and with whom: `version`, `cipher`, `getpeercert`, `session`, `session_reused`."""

    @property
    def connection(self) -> socket.socket:
        """The socket."""
        return self.about

    def change(self, context: ssl.SSLContext) -> None:
        """Another context, before the first octet is read; see contexts.py."""
        self.about.context = context

    def agreed(self) -> tuple[str, str, bool]:
        """Version, cipher suite, and whether a session was resumed."""
        cipher = self.about.cipher()
        assert cipher is not None
        return self.about.version() or "", cipher[0], self.about.session_reused or False

    def handshake(self) -> str | None:
        """Goes on with the handshake: None if it is done, else what it waits for ("read" or "write")."""
        try:
            self.about.do_handshake()
        except ssl.SSLWantReadError:
            return "read"
        except ssl.SSLWantWriteError:
            return "write"
        return None

    def receive(self, most: int) -> bytes | None:
        """What has come, b"" at the end of the stream, None if nothing whole is there now."""
        try:
            return self.about.recv(most)
        except _NOT_NOW:
            return None
        except ssl.SSLEOFError:
            return b""

    def send(self, data: bytes) -> int:
        """How many octets were taken. What was not has to come again, with more behind it or not."""
        taken = 0
        try:
            while taken < len(data):
                taken += self.about.send(memoryview(data)[taken:])
        except _NOT_NOW:
            pass
        return taken

    def pending(self) -> bool:
        """Whether more can be received though the descriptor may not be readable."""
        return self.about.pending() > 0

    def end_sending(self) -> None:
        """Sends close_notify, without waiting for the other side's.

        For the end only: Python's `unwrap` also reads once, and what the other side says at that moment is lost.
        """
        try:
            self.about.unwrap()
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        """Uses the socket no more, and closes it."""
        self.about.close()
