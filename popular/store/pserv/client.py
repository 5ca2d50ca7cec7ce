"""The connection to the client of a session: what is sent is gathered, and leaves when it is flushed."""

import socket
import time

from popular.net.channel import Channel
from supervisor.eventloop import EventLoop, Watcher

_READ_SIZE = 4096


class Client:
    """One connection. `received` and `sent` count octets; `heard` is when it last said or took something."""

    __slots__ = ("_channel", "_gathered", "_untaken", "heard", "received", "sent")

    def __init__(self, loop: EventLoop, connection: socket.SocketType, watcher: Watcher) -> None:
        self._channel = Channel(loop, connection, watcher)
        self._gathered: list[bytes] = []
        self._untaken = memoryview(b"")
        self.heard = time.monotonic()
        self.received = 0
        self.sent = 0

    @property
    def waiting(self) -> bool:
        """Whether it has not yet taken all that was sent."""
        return bool(self._untaken)

    def want(self, events: int) -> None:
        """The watcher is called for these events from now on."""
        self._channel.want(events)

    def receive(self) -> bytes | None:
        """What has come, b"" at the end of the stream, None if nothing. Raises OSError if the connection is broken."""
        data = self._channel.receive(_READ_SIZE)
        if data:
            self.heard = time.monotonic()
            self.received += len(data)
        return data

    def gather(self, data: bytes) -> None:
        """Sends it with the next flush."""
        self.sent += len(data)
        self._gathered.append(data)

    def flush(self) -> None:
        """Sends what it takes. Raises OSError if the connection is broken."""
        if self._gathered:
            self._untaken = memoryview(b"".join((self._untaken, *self._gathered)))
            self._gathered.clear()
        if self._untaken:
            taken = self._channel.send(self._untaken)
            if taken:
                self.heard = time.monotonic()
                self._untaken = self._untaken[taken:]

    def close(self, *, kindly: bool) -> None:
        """Closes; `kindly` so that the last reply arrives even if the client still sends."""
        self._gathered.clear()
        self._untaken = memoryview(b"")
        if kindly:
            self._channel.close_kindly()
        else:
            self._channel.close()
