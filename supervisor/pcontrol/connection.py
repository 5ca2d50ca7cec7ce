"""A client's connection to a control socket."""

import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from supervisor.control.framing import ControlReply, NotAReply, ReplyReader, encode_request

DEFAULT_RUNDIR = "/var/run/popular"

EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_NO_CONNECTION = 3
EXIT_TIMED_OUT = 4
EXIT_CODES = {
    EXIT_DONE: "all commands were carried out",
    EXIT_REFUSED: "a command was refused",
    EXIT_USAGE: "wrong options, or a file that cannot be read",
    EXIT_NO_CONNECTION: "no connection to the program, or it was lost",
    EXIT_TIMED_OUT: "no answer in time, or, with --wait, not gone in time",
}

_PIECE = 65536
_ON_THEIR_WAY = 32
"""Commands sent before their replies are read. Few enough for the socket's buffers: neither side waits for ever."""


class NoConnection(Exception):
    """The program cannot be reached, or is gone."""


class TimedOut(Exception):
    """No answer in time."""


class Connection:
    """A connection to a control socket. Commands are said one after the other."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        """Raises NoConnection."""
        self.path = path
        self._timeout_seconds = timeout_seconds
        self._reader = ReplyReader()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout_seconds)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise NoConnection(f"{path}: {error.strerror or error}") from None

    def close(self) -> None:
        self._socket.close()

    def say(self, command: str) -> ControlReply:
        """The reply to a command. Raises NoConnection or TimedOut; after either the connection is of no more use."""
        return next(self.say_all([command]))

    def say_all(self, commands: Sequence[str]) -> Iterator[ControlReply]:
        """The replies in their order, with some commands on their way at a time; raises like `say`.

        Whoever does not take them all must not use the connection any more.
        """
        for start in range(0, len(commands), _ON_THEIR_WAY):
            batch = commands[start : start + _ON_THEIR_WAY]
            yield from self._exchange(b"".join(map(encode_request, batch)), len(batch))

    def _exchange(self, requests: bytes, count: int) -> Iterator[ControlReply]:
        self._socket.settimeout(self._timeout_seconds)
        try:
            self._socket.sendall(requests)
            while count > 0:
                answers = self._receive()
                count -= len(answers)
                yield from answers
        except TimeoutError:
            # The answer may still come, and would be taken for that to the next command.
            self._socket.close()
            raise TimedOut(f"{self.path}: no answer within {self._timeout_seconds:g} s") from None
        except NotAReply as error:
            raise NoConnection(f"{self.path}: not a control socket: {error}") from None
        except OSError as error:
            raise NoConnection(f"{self.path}: {error.strerror or error}") from None

    def _receive(self) -> list[ControlReply]:
        """At least one reply."""
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._socket.recv(_PIECE)
            if not data:
                raise NoConnection(f"{self.path}: the connection was closed before the answer")
            answers = self._reader.feed(data)
            if answers:
                return answers

    def lives(self) -> bool:
        """Whether the other side still holds it; to be asked while nothing is on its way."""
        try:
            self._socket.settimeout(0)
            return self._socket.recv(1) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


def connect(socket_path: str | None, rundir: str, programs: Sequence[str], *, timeout_seconds: float) -> Connection:
    """Connects to the named socket, or to that of the first of the programs that answers. Raises NoConnection."""
    if socket_path is not None:
        return Connection(Path(socket_path), timeout_seconds)
    failures = []
    for name in programs:
        try:
            return Connection(Path(rundir) / f"{name}.ctrl", timeout_seconds)
        except NoConnection as failure:
            failures.append(str(failure))
    raise NoConnection("; ".join(failures) or "which one? --program or --socket tells it")
