"""The PROXY header of a connection: read from a load balancer, and made for a backend.

It is read exactly: not one octet of what follows it is taken from the socket. So whatever comes next, be it a
ClientHello in the same segment, is found where it belongs. What has come is looked at first (MSG_PEEK) and then taken
as far as it surely is the header's, so that half a header does not wake us again.
"""

import socket
from typing import Any

from popular.protocol.proxyheader import MOST, BadHeader, Endpoint, build, parse
from popular.proxy.session.events import SessionEvents
from supervisor.runtime.loop import READ
from supervisor.serving.eventloop import EventLoop
from supervisor.sockets.listener import MAPPED_IPV4


class HeaderReader:
    """Watches the connection until the header is there, or `close`; the owner hears of it once.

    Who goes without a word has `client_eof` or `client_broke` told of him: a health check is no faulty header.
    """

    __slots__ = ("_connection", "_held", "_loop", "_owner")

    def __init__(self, loop: EventLoop, connection: socket.SocketType, owner: SessionEvents) -> None:
        self._loop = loop
        self._connection = connection
        self._owner = owner
        self._held = b""
        loop.watch(connection.fileno(), READ, self._ready)

    def close(self) -> None:
        """Gives the connection back, unwatched."""
        self._loop.unwatch(self._connection.fileno())

    def _ready(self, _events: int) -> None:
        try:
            self._read()
        except Exception as error:
            self._owner.fault(error)

    def _read(self) -> None:
        try:
            seen = self._connection.recv(MOST, socket.MSG_PEEK)
            header = parse(self._held + seen)
            taken = header.length - len(self._held) if header is not None else len(seen)
            self._held += self._connection.recv(taken) if taken else b""
        except BlockingIOError:
            return
        except OSError as error:
            if self._held:
                self._fail(error.strerror or type(error).__name__)
            else:
                self._owner.client_broke()
            return
        except BadHeader as bad:
            self._fail(str(bad))
            return
        if header is not None:
            self.close()
            self._owner.introduced(header)
        elif not seen and self._held:
            self._fail("it closed before a whole header had come")
        elif not seen:
            self._owner.client_eof()

    def _fail(self, reason: str) -> None:
        self.close()
        self._owner.header_failed(reason)


def local_end(connection: socket.SocketType) -> Endpoint | None:
    """Our end of a connection to a client; None if it is gone."""
    try:
        host, port = connection.getsockname()[:2]
    except OSError:
        return None
    return host.removeprefix(MAPPED_IPV4), port


def proxy_header(version: str, peer: tuple[Any, ...], local: Endpoint | None) -> bytes:
    """The header ("v1" or "v2") that tells a backend about a client, and about where it was accepted."""
    return build(version, (peer[0].partition("%")[0], peer[1]), local)
