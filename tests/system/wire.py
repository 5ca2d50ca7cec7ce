"""The far ends of a session, played by tests: a POP3 client, a backend, a mail check server. Raw octets, real sockets.

Everything waits for a bounded time only (`PATIENCE` seconds unless told otherwise) and then fails with what it had.
Threads end when their `with` block does; an error in one of them is raised there.
"""

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from tests.patience import PATIENCE

LOOPBACK = "127.0.0.1"
_POLL = 0.01


_GIVEN: set[int] = set()
"""Ports that were given out: not twice, because whoever asked may not have bound it yet."""

_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_MINE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Which of the processes that run tests side by side this is: each has ports of its own."""


def free_port() -> int:
    """A port that nobody has on loopback, neither TCP nor UDP, and from which nobody is given outgoing connections."""
    for _ in range(1000):
        port = random.randrange(12_000 + _MINE, 32_000, _PROCESSES)
        if port in _GIVEN:
            continue
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((LOOPBACK, port))
                udp.bind((LOOPBACK, port))
            except OSError:
                continue
        _GIVEN.add(port)
        return port
    raise AssertionError("no free port in a thousand tries")


def wait_until(true: Callable[..., Any], what: str, seconds: float = PATIENCE) -> Any:
    """Asks again and again until the answer is true, and gives it; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(_POLL)


class Peer:
    """One end of a TCP connection: says octets, hears lines."""

    def __init__(self, connection: socket.socket, patience: float = PATIENCE) -> None:
        connection.settimeout(patience)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.heard = b""
        """What came in and was not yet taken."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)

    def _more(self) -> bool:
        piece = self.connection.recv(1 << 16)
        self.heard += piece
        return bool(piece)

    def line(self) -> bytes:
        """The next line, without its CRLF. Fails if the other side closed before it was whole."""
        while b"\n" not in self.heard:
            assert self._more(), f"closed; before that came {self.heard!r}"
        line, _, self.heard = self.heard.partition(b"\n")
        assert line.endswith(b"\r"), f"a line without CR: {line!r}"
        return line[:-1]

    def block(self) -> list[bytes]:
        """Lines up to a lone dot, which is left out, as are the dots in front of stuffed lines."""
        lines: list[bytes] = []
        while (line := self.line()) != b".":
            lines.append(line.removeprefix(b"."))
        return lines

    def exactly(self, count: int) -> bytes:
        """The next `count` octets."""
        while len(self.heard) < count:
            assert self._more(), f"closed; before that came {len(self.heard)} of {count} octets"
        taken, self.heard = self.heard[:count], self.heard[count:]
        return taken

    def rest(self) -> bytes:
        """Everything until the other side closes, be it by a reset."""
        with contextlib.suppress(ConnectionError):
            while self._more():
                pass
        taken, self.heard = self.heard, b""
        return taken

    def half_close(self) -> None:
        """Sends nothing more, but goes on listening."""
        self.connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Vanishes: the other side gets a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def close(self) -> None:
        self.connection.close()


class Conversation(Peer):
    """A client's end of a connection that is there already. `greeting` is read by the first `ask` or `log_in`."""

    def __init__(self, connection: socket.socket, patience: float = PATIENCE, greeting: bytes = b"") -> None:
        """`greeting`: what was read of it before, if it was."""
        super().__init__(connection, patience)
        self.greeting = greeting

    def greeted(self) -> bytes:
        """The greeting, read if it was not yet."""
        if not self.greeting:
            self.greeting = self.line()
        return self.greeting

    def ask(self, command: str) -> bytes:
        """Says one command and gives the first line of its answer."""
        self.greeted()
        self.say(command.encode() + b"\r\n")
        return self.line()

    def log_in(self, user: str = "ann", password: str = "secret") -> bytes:
        """USER and PASS; gives the answer to PASS."""
        answer = self.ask(f"USER {user}")
        assert answer.startswith(b"+OK"), answer
        return self.ask(f"PASS {password}")

    def retrieve(self, number: int) -> bytes:
        """A whole mail with CRLF line ends, its dots unstuffed."""
        answer = self.ask(f"RETR {number}")
        assert answer.startswith(b"+OK"), answer
        return b"".join(line + b"\r\n" for line in self.block())


class PopClient(Conversation):
    """A client that has connected. `greeting` is read by the first `ask` or `log_in`, or by hand with `line`."""

    def __init__(self, port: int, host: str = LOOPBACK, patience: float = PATIENCE, receive_buffer: int = 0) -> None:
        """`receive_buffer`: octets that the kernel takes for a slow reader; 0 for its default."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(patience)
            connection.connect((host, port))
        except OSError:
            connection.close()
            raise
        super().__init__(connection, patience)

    def __enter__(self) -> Self:
        return self


Play = Callable[[Peer], None]
"""What a backend does with one connection. When it returns the connection is closed."""


class ScriptedBackend:
    """A TCP server on loopback that does `play` with each connection, in a thread of its own.

    At a port of its own choice, unless it is told one. `received` has what each connection heard beyond what its play
    took, once it is over; `connections` counts them.
    """

    def __init__(self, play: Play, host: str = LOOPBACK, port: int = 0) -> None:
        self._play = play
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.received: list[bytes] = []
        self._peers: set[Peer] = set()
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self._over = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, kind: object, *_exception: object) -> None:
        self._over = True
        self._listener.shutdown(socket.SHUT_RD)
        self._accepting.join(PATIENCE)
        self._listener.close()
        for peer in list(self._peers):
            with contextlib.suppress(OSError):
                peer.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        if kind is None and self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        while not self._over:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            peer = Peer(connection, 2 * PATIENCE)
            self._peers.add(peer)
            thread = threading.Thread(target=self._run, args=(peer,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, peer: Peer) -> None:
        try:
            self._play(peer)
        except ConnectionError:
            pass
        except (AssertionError, OSError) as error:
            if not self._over:
                self._errors.append(error)
        finally:
            self._peers.discard(peer)
            self.received.append(peer.heard)
            peer.close()


def pop3_server(mails: Sequence[bytes], password: bytes | None = None) -> Play:
    """A small POP3 backend over fixed mails with CRLF line ends; `password` None takes every one."""
    return lambda peer: _serve_pop3(peer, mails, password)


def xpop_server(mails: Sequence[bytes]) -> Play:
    """A small storage server: three lines, one reply, then the TRANSACTION state."""

    def play(peer: Peer) -> None:
        for _ in range(3):
            peer.line()
        peer.say(b"+OK %d messages\r\n" % len(mails))
        _transaction(peer, mails)

    return play


def _serve_pop3(peer: Peer, mails: Sequence[bytes], password: bytes | None) -> None:
    peer.say(b"+OK backend ready\r\n")
    if (line := peer.line()) == b"CAPA":
        peer.say(b"-ERR what?\r\n")
        assert peer.line() == b"QUIT"
        return
    assert line.startswith(b"USER ")
    peer.say(b"+OK\r\n")
    verb, _, given = peer.line().partition(b" ")
    assert verb == b"PASS"
    if password is not None and given != password:
        peer.say(b"-ERR [AUTH] no\r\n")
        return
    peer.say(b"+OK logged in\r\n")
    _transaction(peer, mails)


def _transaction(peer: Peer, mails: Sequence[bytes]) -> None:
    for line in commands(peer):
        verb, _, argument = line.partition(b" ")
        match verb.upper():
            case b"QUIT":
                peer.say(b"+OK bye\r\n")
                return
            case b"STAT":
                peer.say(b"+OK %d %d\r\n" % (len(mails), sum(map(len, mails))))
            case b"RETR":
                stuffed = (b"\r\n" + mails[int(argument) - 1]).replace(b"\r\n.", b"\r\n..")
                peer.say(b"+OK" + stuffed + b".\r\n")
            case _:
                peer.say(b"+OK\r\n")


def commands(peer: Peer) -> Iterator[bytes]:
    """The client's lines until it closes."""
    while b"\n" in peer.heard or peer._more():
        while b"\n" in peer.heard:
            yield peer.line()


class CheckServer:
    """Answers mail checks over UDP: `answers` maps a packet (`b"*Mann\\r\\n"`) to its answer, None = silence.

    What is not in the map gets `default`. `questions` has all that came in.
    """

    def __init__(self, answers: Mapping[bytes, bytes | None] | None = None, default: bytes | None = None) -> None:
        self.answers: dict[bytes, bytes | None] = dict(answers or {})
        self.default = default
        self.questions: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._socket.settimeout(0.1)
        self.port: int = self._socket.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                packet, asker = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            self.questions.append(packet)
            answer = self.answers.get(packet, self.default)
            if answer is not None:
                self._socket.sendto(answer, asker)
