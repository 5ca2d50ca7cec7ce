"""One non-blocking connection, in clear or in TLS, with the same few calls: its owner need not know which it is.

`None` always means "not now". Reading and writing raise OSError (also `ssl.SSLError`, which is one) when the connection
is broken. `want` says which events the watcher is to be called for; it costs a system call only when that changes.
"""

import select
import socket
from typing import Any, cast

from popular.net.syscall_log import SyscallLog
from supervisor.system import EventTaker, Poller, Watcher, close, end_sending, receive, send, send_last

_MOST_DISCARDED = 1 << 16

BROKEN = select.EPOLLERR | select.EPOLLHUP
"""To want this alone: the watcher is called when nothing can be read or written any more, and not before.

epoll(7) tells of it whatever is wanted, but only of descriptors that are watched.
"""

ENDED = select.EPOLLRDHUP
"""The other side sends nothing more: told with what came last, where it is wanted, and spares the read that would find
the end.
"""


def _nobody(_events: int) -> None:
    """Watches a closed connection."""


class Channel:
    """A connection in clear. Its socket is a descriptor, and an object only for whoever asks for one."""

    __slots__ = ("_connection", "_core", "_events", "_watcher", "fd", "most", "tls")

    def __init__(self, core: Poller, fd: int, watcher: Watcher) -> None:
        """`fd`: of a non-blocking socket, which is this channel's to close."""
        self._core = core
        self._watcher = watcher
        self._events = 0
        self._connection: Any = None
        self.fd = fd
        """-1 once it is closed: the number may be another connection's by then."""
        self.tls = False
        self.most = 1 << 16
        """Octets that are read at a time, where much may come; a full read means that more is probably waiting."""

    @property
    def connection(self) -> socket.socket:
        """The socket as an object, which is the channel's too."""
        if self._connection is None:
            # Whatever family it is: only `bind` and `connect` would ask, and Python asks the kernel if it is not told.
            self._connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, self.fd)
            self._connection.setblocking(False)
        return cast(socket.socket, self._connection)

    @property
    def syscalls(self) -> SyscallLog | None:
        """Where its system calls are logged; see logged_channels.py."""
        return None

    def want(self, events: int) -> None:
        """The watcher is called for these events (READ, WRITE, both, BROKEN or 0) from now on."""
        if events == self._events:
            return
        if not self._events:
            self._core.watch(self.fd, events, self._watcher)
        elif events:
            self._core.rewatch(self.fd, events)
        else:
            self._core.unwatch(self.fd)
        self._events = events

    def hand_to(self, watcher: Watcher) -> None:
        """Another watcher takes over; the events stay."""
        self._watcher = watcher
        if self._events:
            self._core.redirect(self.fd, watcher)

    def now(self) -> float:
        """When the loop last woke, see Clock."""
        return self._core.clock.now

    def later(self, taker: EventTaker) -> None:
        """See Poller."""
        self._core.later(taker)

    def receive(self, most: int) -> bytes | None:
        """What has come, b"" at the end of the stream."""
        return receive(self.fd, most)

    def send(self, data: bytes) -> int:
        """How many octets were taken; 0 if none can be now."""
        return send(self.fd, data)

    def send_last(self, data: bytes) -> int:
        """Like `send`, when the connection is closed next: what was taken leaves with its end, in one packet."""
        return send_last(self.fd, data)

    def pending(self) -> bool:
        """Whether more can be received though the descriptor may not be readable."""
        return False

    def end_sending(self) -> None:
        """Tells the other side that nothing more comes; it can be read on."""
        end_sending(self.fd)

    def close(self) -> None:
        """Closes at once, and lets go of the watcher, so that a session that is over is free without the collector."""
        fd = self.fd
        self._core.forget(fd)
        self.fd = -1
        self._watcher = _nobody
        if self._connection is not None:
            self._connection.close()
        elif fd >= 0:
            close(fd)

    def close_kindly(self) -> None:
        """Closes so that the last reply arrives.

        Input that nobody has read would make the kernel send a reset, and a reset makes the other side forget what it
        has not read yet: so it is read and thrown away.
        """
        try:
            self.end_sending()
            receive(self.fd, _MOST_DISCARDED)
        except OSError:
            pass
        self.close()
