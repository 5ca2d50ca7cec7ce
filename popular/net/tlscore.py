"""How a connection in TLS comes to OpenSSL: here through the ssl module.

`tlscore.pyx` is the compiled form of this: it asks OpenSSL itself, if that can be reached.
"""

import socket
import ssl

from popular.net.channel import Channel
from popular.net.tlsmodule import Plain, TlsEnd, TlsThroughModule

WAY = "TLS through the ssl module"
"""For people."""


def tls_of(
    context: ssl.SSLContext, plain: Channel | Plain, server_name: str | None, session: ssl.SSLSession | None
) -> TlsEnd:
    """TLS on this connection, which it takes over; its handshake is yet to be done. Raises OSError."""
    return TlsThroughModule(context, plain.connection, server_name=server_name, session=session)


def peek(fd: int, most: int) -> bytes | None:
    """What has come, without taking it: b"" at the end of the stream, None if nothing is there now. Raises OSError."""
    connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        return connection.recv(most, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    finally:
        connection.detach()


def gather(fd: int, begins: bool) -> None:
    """Whether packets that are not full are held back. On a broken connection it is of no matter."""
    connection = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, begins)
    except OSError:
        pass
    finally:
        connection.detach()
