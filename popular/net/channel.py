"""One non-blocking connection, in clear or in TLS, with the same few calls: a driver need not know which it is.

`None` always means "not now". Reading and writing raise OSError (also `ssl.SSLError`, which is one) when the connection
is broken. `want` says which events the watcher is to be called for; it costs a system call only when that changes.

In clear, the descriptor is read and written as a file: `os.read` and `os.write` do the same as `recv` and `send` of
the socket object, and each saves 0.15 µs of a session that has twenty of them.
"""

import os
import select
import socket
import ssl
from typing import cast

from popular.net.trace import Trace
from supervisor.serving.eventloop import EventLoop, Watcher

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_MOST_DISCARDED = 1 << 16

BROKEN = select.EPOLLERR | select.EPOLLHUP
"""To want this alone: the watcher is called when nothing can be read or written any more, and not before.

epoll(7) tells of it whatever is wanted, but only of descriptors that are watched.
"""


def _nobody(_events: int) -> None:
    """Watches a closed connection."""


class Channel:
    """A connection in clear."""

    __slots__ = ("_events", "_loop", "_watcher", "connection", "fd")

    tls = False
    MOST = 1 << 16
    """Octets that are read at a time, where much may come; a full read means that more is probably waiting."""

    def __init__(self, loop: EventLoop, connection: socket.SocketType, watcher: Watcher) -> None:
        self._loop = loop
        self._watcher = watcher
        self._events = 0
        self.connection = connection
        self.fd = connection.fileno()
        """-1 once it is closed: the number may be another connection's by then."""

    @property
    def trace(self) -> Trace | None:
        """What shows its system calls; see traced.py."""
        return None

    def in_tls(
        self,
        context: ssl.SSLContext,
        watcher: Watcher,
        server_name: str | None = None,
        *,
        session: ssl.SSLSession | None = None,
    ) -> "TlsChannel":
        """TLS on this connection, its handshake yet to be done; see TlsChannel."""
        return TlsChannel(
            self._loop, self.connection, context, watcher=watcher, server_name=server_name, session=session
        )

    def want(self, events: int) -> None:
        """The watcher is called for these events (READ, WRITE, both, BROKEN or 0) from now on."""
        if events == self._events:
            return
        if not self._events:
            self._loop.watch(self.fd, events, self._watcher)
        elif events:
            self._loop.rewatch(self.fd, events)
        else:
            self._loop.unwatch(self.fd)
        self._events = events

    def hand_to(self, watcher: Watcher) -> None:
        """Another watcher takes over; the events stay."""
        self._watcher = watcher
        if self._events:
            self._loop.redirect(self.fd, watcher)

    def receive(self, most: int) -> bytes | None:
        """What has come, b"" at the end of the stream."""
        try:
            return os.read(self.fd, most)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """How many octets were taken; 0 if none can be now."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0

    @property
    def pending(self) -> bool:
        """Whether more can be received though the descriptor may not be readable."""
        return False

    def end_sending(self) -> None:
        """Tells the other side that nothing more comes; it can be read on."""
        self.connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes at once, and lets go of the watcher, so that a session that is over is free without the collector."""
        self._loop.forget(self.fd)
        self.fd = -1
        self._watcher = _nobody
        self.connection.close()

    def close_kindly(self) -> None:
        """Closes so that the last reply arrives.

        Input that nobody has read would make the kernel send a reset, and a reset makes the other side forget what it
        has not read yet: so it is read and thrown away.
        """
        try:
            self.end_sending()
            os.read(self.fd, _MOST_DISCARDED)
        except OSError:
            pass
        self.close()


class TlsChannel(Channel):
    """A connection in TLS. `handshake` first, until it says that it is done."""

    __slots__ = ()

    tls = True
    MOST = 1 << 14
    """A record (RFC 8446 section 5.1): OpenSSL gives no more at a time."""
    connection: ssl.SSLSocket

    def __init__(
        self,
        loop: EventLoop,
        connection: socket.SocketType,
        context: ssl.SSLContext,
        *,
        watcher: Watcher,
        server_name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Takes the socket over: the plain one must not be used or watched any more.

        Which side this is, the context says. On the client's side, `server_name` is whom it wants to speak with, and
        `session` one of before that may be resumed.
        """
        wrapped = context.wrap_socket(
            cast(socket.socket, connection),
            server_side=context.protocol is ssl.PROTOCOL_TLS_SERVER,
            do_handshake_on_connect=False,
            server_hostname=server_name,
            session=session,
        )
        super().__init__(loop, wrapped, watcher)

    def handshake(self) -> str | None:
        """Goes on with the handshake: None if it is done, else what it waits for ("read" or "write")."""
        try:
            self.connection.do_handshake()
        except ssl.SSLWantReadError:
            return "read"
        except ssl.SSLWantWriteError:
            return "write"
        return None

    def receive(self, most: int) -> bytes | None:
        try:
            return self.connection.recv(most)
        except _NOT_NOW:
            return None
        except ssl.SSLEOFError:
            return b""

    def send(self, data: bytes | memoryview) -> int:
        """See Channel. OpenSSL takes one record at a time; here it is given one after the other."""
        taken = 0
        try:
            while taken < len(data):
                taken += self.connection.send(memoryview(data)[taken:])
        except _NOT_NOW:
            pass
        return taken

    @property
    def pending(self) -> bool:
        return self.connection.pending() > 0

    def end_sending(self) -> None:
        """Sends close_notify (RFC 8314 section 3.2 wants it), without waiting for the other side's.

        For the end only: Python's `unwrap` also reads once, and what the other side says at that moment is lost.
        """
        try:
            self.connection.unwrap()
        except (OSError, ValueError):
            pass
