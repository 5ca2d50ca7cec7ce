"""The connection to a backend until it is joined with the client: connect, and the login dialogue as the machine
wants it.

A backend that greets is waited for by its greeting alone: connecting needs no event of its own.
"""

import errno
import os
import socket
from typing import Protocol

from popular.net.channel import Channel
from popular.proxy.backend import Backend
from supervisor.eventloop import READ, WRITE, EventLoop
from supervisor.sources import keep_alive

_READ_SIZE = 4096
_KIND = int(socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)


class Owner(Protocol):
    """Who wants to know how it goes."""

    def backend_connected(self) -> None:
        """Called only if the backend does not greet."""

    def backend_says(self, data: bytes) -> None: ...

    def backend_broke(self, reason: str) -> None:
        """The connection is closed already."""


class BackendLeg:
    """One connection. After `close` it is silent."""

    __slots__ = ("_owner", "channel")

    def __init__(self, loop: EventLoop, backend: Backend, greets: bool, owner: Owner) -> None:
        """Begins to connect; `greets`: the backend speaks first. Raises OSError if that fails at once."""
        family = socket.AF_INET6 if ":" in backend.host else socket.AF_INET
        # The plain type below socket.socket, without makefile and enums, saves 0.4 µs; to get the number of the error
        # that always comes (in progress) without its exception, as much again.
        connection = socket.SocketType(family, _KIND)
        try:
            keep_alive(connection)
            number = connection.connect_ex((backend.host, backend.port))
            if number not in (0, errno.EINPROGRESS):
                raise OSError(number, os.strerror(number))
        except OSError:
            connection.close()
            raise
        self._owner = owner
        self.channel = Channel(loop, connection, self._ready)
        self.channel.want(READ if greets else WRITE)

    def send(self, data: bytes) -> None:
        """Sends a line of the login. On a connection that was just made, what does not fit at once never will."""
        try:
            if self.channel.send(data) < len(data):
                self._break("it does not take our login")
        except OSError as error:
            self._break(_words(error))

    def close(self) -> None:
        """Lets go, without a word to the backend."""
        self.channel.close()

    def describe_silence(self) -> str:
        """What did not come in time."""
        try:
            self.channel.connection.getpeername()
        except OSError:
            return "no connection in time"
        return "no answer in time"

    def _break(self, reason: str) -> None:
        self.close()
        self._owner.backend_broke(reason)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._opened()
            return
        try:
            data = self.channel.receive(_READ_SIZE)
        except OSError as error:
            self._break(_words(error))
            return
        if data:
            self._owner.backend_says(data)
        elif data is not None:
            self._break("it closed the connection")

    def _opened(self) -> None:
        """The backend that waits for us to speak first is connected, or is not to be had."""
        number = self.channel.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._break(os.strerror(number))
            return
        try:
            self.channel.connection.getpeername()
        except OSError:
            return  # an event of the connection that had this descriptor before, in the same waking
        self.channel.want(READ)
        self._owner.backend_connected()


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
