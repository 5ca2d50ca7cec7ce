"""The master's end of the control socket: many clients, each served one command at a time, in order.

A request is one line. A reply is a status line `+OK text` or `-ERR text`, then data lines, dot-stuffed as in POP3, then
a line with a single dot. Lines end with LF; a CR before it is dropped. Text is UTF-8. What a client sends is checked
here as far as it is bytes: a line that is too long, that is not UTF-8 or that holds a control octet becomes a
`Malformed`, and the connection goes on with the next line. The client's end is `pcontrol/connection.py`.

Runs on the master's loop and never blocks. A client's next command is looked at when the reply to the one before is
sent, so neither many commands nor a client that does not read can fill the memory: per client there are at most one
reply, one piece of input and the requests in it. A client that leaves early is fine; its command is carried out all
the same.

When there are `MOST_CLIENTS` clients, the one that has been silent longest makes room for a new one: forgotten clients
cannot lock the operator out.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from supervisor.control.language.outcome import CommandDone
from supervisor.control.wire.peer import Peer, peer_of
from supervisor.control.words import LONGEST_LINE, called, first_control
from supervisor.runtime.loop import READ, WRITE, Loop

MOST_CLIENTS = 64

Conduct = Callable[[str, CommandDone], None]
"""Carries out a line and calls CommandDone once, now or later."""
Converse = Callable[[Peer], Conduct]
"""Called for each connection, with who its client is."""

_PIECE = 16384
_REQUESTS_AT_A_TIME = 16
_PAUSE_SECONDS = 1.0


class Malformed(NamedTuple):
    """A request that is not one; the text goes into the -ERR."""

    text: str


class ControlRequestReader:
    """Takes pieces of bytes, gives requests. Keeps at most LONGEST_LINE octets."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[str | Malformed]:
        """The requests that these octets complete."""
        *ends, last = data.split(b"\n")
        requests: list[str | Malformed] = []
        for end in ends:
            if not self._skipping:
                requests.append(_request(self._rest + end))
            self._rest, self._skipping = b"", False
        if self._skipping:
            return requests
        self._rest += last
        # One octet more than the limit may still be the CR of a line end.
        if len(self._rest) > LONGEST_LINE + 1:
            requests.append(_TOO_LONG)
            self._rest, self._skipping = b"", True
        return requests


_TOO_LONG = Malformed(f"the line is too long; allowed: {LONGEST_LINE} octets")


def _request(octets: bytes) -> str | Malformed:
    octets = octets.removesuffix(b"\r")
    if len(octets) > LONGEST_LINE:
        return _TOO_LONG
    try:
        line = octets.decode()
    except UnicodeDecodeError as error:
        return Malformed(f"octet {error.start + 1} is not UTF-8")
    bad = first_control(line.replace("\t", " "))
    return line if bad is None else Malformed(f"column {bad + 1}: {called(line[bad])} is not allowed")


def encode_reply(ok: bool, text: str, lines: Sequence[str] = ()) -> bytes:
    """A reply as it is sent. Control characters in it become blanks; a data line with LF becomes two."""
    status = f"{'+OK' if ok else '-ERR'} {_one_line(text)}".rstrip()
    body = [_one_line(part) for line in lines for part in line.split("\n")]
    stuffed = [f".{line}" if line.startswith(".") else line for line in body]
    return "".join(f"{line}\n" for line in (status, *stuffed, ".")).encode("utf-8", "replace")


def _one_line(text: str) -> str:
    if first_control(text) is None:
        return text
    return "".join(" " if first_control(character) is not None else character for character in text)


class ControlServer:
    """Serves a listening unix socket."""

    def __init__(self, loop: Loop, listener: socket.socket, converse: Converse) -> None:
        self._loop = loop
        self._listener = listener
        self._converse = converse
        self._clients: set[_Client] = set()
        self._open = True
        listener.setblocking(False)
        loop.watch(listener, READ, self._accept)

    def listen_at(self, listener: socket.socket) -> None:
        """Serves another one from now on, in place of the one before, whose clients stay."""
        self._loop.unwatch(self._listener)
        self._listener.close()
        self._listener = listener
        self._accept_again()

    def flush(self, seconds: float = 1.0) -> None:
        """Sends what is still to be sent, for `seconds` at most; blocks. For the end of the master."""
        deadline = time.monotonic() + seconds
        while waiting := {client.fileno(): client for client in self._clients if client.out}:
            poll = select.poll()
            for number in waiting:
                poll.register(number, select.POLLOUT)
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                return
            for number, _events in ready:
                waiting[number].send()

    def close(self) -> None:
        """Lets go of all clients and stops accepting; the listening socket stays open."""
        self._open = False
        self._loop.unwatch(self._listener)
        for client in list(self._clients):
            client.close()

    def _accept(self, _events: int) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError:
            # Out of descriptors: the socket stays readable, so trying at once would only turn in circles.
            self._loop.unwatch(self._listener)
            self._loop.after(_PAUSE_SECONDS, self._accept_again)
            return
        if len(self._clients) >= MOST_CLIENTS:
            min(self._clients, key=lambda client: (client.busy, client.last_heard)).close()
        connection.setblocking(False)
        self._clients.add(_Client(connection, self._loop, self._converse, forget=self._clients.discard))

    def _accept_again(self) -> None:
        if self._open:
            self._loop.watch(self._listener, READ, self._accept)


class _Client:
    """One connection. Either it is read from, or a command is under way, or a reply is being sent."""

    def __init__(
        self, connection: socket.socket, loop: Loop, converse: Converse, *, forget: Callable[["_Client"], None]
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._conduct = converse(peer_of(connection))
        self._forget = forget
        self._reader = ControlRequestReader()
        self._requests: deque[str | Malformed] = deque()
        self._closed = False
        self.out = b""
        self.busy = False
        self.last_heard = time.monotonic()
        loop.watch(connection, READ, self._readable)

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.unwatch(self._connection)
            self._connection.close()
            self._forget(self)

    def send(self) -> None:
        """Sends as much of the reply as the client takes."""
        try:
            sent = self._connection.send(self.out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        self.out = self.out[sent:]

    def _readable(self, _events: int) -> None:
        if self._closed:
            return
        try:
            data = self._connection.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.last_heard = time.monotonic()
        self._requests.extend(self._reader.feed(data))
        self._work_off_requests()

    def _writable(self, _events: int) -> None:
        if not self._closed:
            self.send()
            self._work_off_requests()

    def _work_off_requests(self) -> None:
        """Works off requests until one is not answered at once, a reply is not taken at once, or it is others' turn."""
        for _ in range(_REQUESTS_AT_A_TIME):
            if not self._requests or self.busy or self.out or self._closed:
                break
            self._begin(self._requests.popleft())
        self._watch()

    def _begin(self, request: str | Malformed) -> None:
        if isinstance(request, Malformed):
            self._reply(False, request.text, ())
            return
        self.busy = True
        at_once = True

        def done(ok: bool, text: str, lines: Sequence[str]) -> None:
            assert self.busy, "a command is answered once"
            self.busy = False
            self._reply(ok, text, lines)
            if not at_once:
                self._work_off_requests()

        self._conduct(request, done)
        at_once = False

    def _reply(self, ok: bool, text: str, lines: Sequence[str]) -> None:
        if not self._closed:
            self.out = encode_reply(ok, text, lines)
            self.send()

    def _watch(self) -> None:
        if self._closed:
            return
        if self.out:
            self._loop.watch(self._connection, WRITE, self._writable)
        elif self.busy:
            self._loop.unwatch(self._connection)
        elif self._requests:
            self._loop.unwatch(self._connection)
            self._loop.after(0.0, self._work_off_requests)
        else:
            self._loop.watch(self._connection, READ, self._readable)
