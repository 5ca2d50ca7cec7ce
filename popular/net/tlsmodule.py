"""TLS through Python's ssl module: what every Python can do, whatever OpenSSL it was built with."""

import socket
import ssl
from typing import Any, NamedTuple

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Plain(NamedTuple):
    """What a connection in TLS is made of: a channel has the same two names, and makes the socket only when asked."""

    fd: int
    connection: socket.socket


class TlsEnd:
    """One end of a connection in TLS. Raises OSError (also ssl.SSLError, which is one) where it is broken."""

    __slots__ = ("connection",)

    connection: Any
    """The socket; None if it is a descriptor alone."""

    @property
    def about(self) -> Any:
        """What was agreed, and with whom: `version`, `cipher`, `getpeercert`, `session`, `session_reused`."""
        raise NotImplementedError

    def change(self, context: ssl.SSLContext) -> None:
        """Another context, before the first octet is read; see contexts.py."""
        raise NotImplementedError

    def agreed(self) -> tuple[str, str, bool]:
        """Version, cipher suite, and whether a session was resumed."""
        raise NotImplementedError

    def handshake(self) -> str | None:
        """Goes on with the handshake: None if it is done, else what it waits for ("read" or "write")."""
        raise NotImplementedError

    def receive(self, most: int) -> bytes | None:
        """What has come, b"" at the end of the stream, None if nothing whole is there now."""
        raise NotImplementedError

    def send(self, data: bytes) -> int:
        """How many octets were taken. What was not has to come again, with more after it or not."""
        raise NotImplementedError

    def pending(self) -> bool:
        """Whether more can be received though the descriptor may not be readable."""
        raise NotImplementedError

    def end_sending(self) -> None:
        """Sends close_notify, without waiting for the other side's."""
        raise NotImplementedError

    def close(self) -> None:
        """Uses the socket no more."""
        raise NotImplementedError


class TlsThroughModule(TlsEnd):
    """The ssl module's: its socket does all of it."""

    __slots__ = ()

    def __init__(
        self,
        context: ssl.SSLContext,
        connection: socket.socket,
        *,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Takes the socket over, which is non-blocking. Raises AttributeError later where it is not connected."""
        self.connection = context.wrap_socket(
            connection,
            server_side=context.protocol is ssl.PROTOCOL_TLS_SERVER,
            do_handshake_on_connect=False,
            server_hostname=server_name,
            session=session,
        )

    @property
    def about(self) -> Any:
        return self.connection

    def change(self, context: ssl.SSLContext) -> None:
        self.connection.context = context

    def agreed(self) -> tuple[str, str, bool]:
        cipher = self.connection.cipher()
        assert cipher is not None
        return self.connection.version() or "", cipher[0], self.connection.session_reused or False

    def handshake(self) -> str | None:
        try:
            self.connection.do_handshake()
        except ssl.SSLWantReadError:
            return "read"
        except ssl.SSLWantWriteError:
            return "write"
        return None

    def receive(self, most: int) -> bytes | None:
        try:
            data: bytes = self.connection.recv(most)
            return data
        except _NOT_NOW:
            return None
        except ssl.SSLEOFError:
            return b""

    def send(self, data: bytes) -> int:
        taken = 0
        try:
            while taken < len(data):
                taken += self.connection.send(memoryview(data)[taken:])
        except _NOT_NOW:
            pass
        return taken

    def pending(self) -> bool:
        return bool(self.connection.pending())

    def end_sending(self) -> None:
        """For the end only: Python's `unwrap` also reads once, and what the other side says at that moment is lost."""
        try:
            self.connection.unwrap()
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        """And closes it."""
        self.connection.close()
