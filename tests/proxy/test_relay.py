"""The relay sends what came in one turn at its end, and the answer to QUIT together with the end of the connection."""

import contextlib
import functools
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from popular.net.channel import Channel
from popular.net.splice import Pipes
from popular.net.tlschannel import TlsChannel
from popular.proxy.session.events import SessionEvents
from popular.proxy.session.relay import Relay
from supervisor.serving.eventloop import EventLoop
from supervisor.serving.session import CutCost
from tests.patience import PATIENCE
from tests.system.certificates import Authority

SEGMENTS_IN = struct.Struct("=140xI")
"""What is read of tcp(7)'s TCP_INFO: how many segments have come."""


def connection() -> tuple[socket.socket, socket.socket]:
    """Both ends, over TCP: a packet is one only there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    near.setblocking(False)
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as connections of the program have it
    far.settimeout(PATIENCE)
    return near, far


def segments(peer: socket.socket) -> int:
    return int(SEGMENTS_IN.unpack(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SEGMENTS_IN.size))[0])


Make = Callable[[Any, int, Any], Channel]
"""How the channel to the client is made, of the core, a descriptor and the session."""


class Joined(SessionEvents):
    """A session that has a relay and nothing else."""

    def __init__(self, channel: Make, backend: Make) -> None:
        self.loop = EventLoop()
        near, self.client = connection()
        self.to_client = channel(self.loop.core, near.detach(), self)
        near, self.backend = connection()
        self.to_backend = backend(self.loop.core, near.detach(), self)
        self.ending = ""
        self.relay = Relay(self, self.loop.core, Pipes())
        self.relay.take_over(self.to_client, self.to_backend, False)
        self.relay.begin(b"", b"")

    def relay_ended(self, ending: str) -> None:
        self.ending = ending
        self.relay.close()
        if self.to_client.tls:
            self.to_client.close_kindly()
        else:
            self.to_client.close()
        self.to_backend.close()

    def turn(self, until: Callable[[], object]) -> None:
        """One wait for events after the other."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline
            self.loop.core.run(0.0)


@contextlib.contextmanager
def joined(channel: Make = Channel, backend: Make = Channel) -> Iterator[Joined]:
    """All of it is closed at the end. `channel`: that of the client."""
    one = Joined(channel, backend)
    yield one
    if not one.ending:
        one.relay_ended("the test is over")
    one.client.close()
    one.backend.close()
    one.loop.close()


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server with a certificate for localhost, and a client that believes it."""
    authority, server = Authority(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        authority.issue("localhost").write(Path(directory), "default")
        server.load_cert_chain(f"{directory}/default.pem", f"{directory}/default.key")
    return server, authority.trusting()


def in_tls(core: Any, fd: int, one: Joined) -> Channel:
    """The client and its channel, after their handshake."""
    server, client = contexts()
    channel = TlsChannel(Channel(core, fd, one), server, one)  # type: ignore[arg-type]
    one.client.setblocking(False)
    one.client = client.wrap_socket(one.client, server_hostname="localhost", do_handshake_on_connect=False)
    waits: list[str | None] = ["read", "read"]
    deadline = time.monotonic() + PATIENCE
    while any(waits):
        assert time.monotonic() < deadline
        if waits[0]:
            with contextlib.suppress(ssl.SSLWantReadError):
                waits[0] = one.client.do_handshake()
        waits[1] = waits[1] and channel.handshake()
    one.client.settimeout(PATIENCE)
    return channel


@pytest.mark.parametrize("channel", [Channel, in_tls])
def test_the_answer_to_quit_leaves_with_the_end(channel: Make) -> None:
    """In one packet, if the backend has closed after it; in TLS with close_notify."""
    with joined(channel) as one:
        one.client.sendall(b"QUIT\r\n")
        one.turn(lambda: one.relay.watch.quit)
        assert one.backend.recv(100) == b"QUIT\r\n"
        one.backend.sendall(b"+OK bye\r\n")
        one.backend.close()
        before = segments(one.client)
        one.turn(lambda: one.ending)
        assert one.ending == "quit"
        assert one.client.recv(100) == b"+OK bye\r\n"
        assert one.client.recv(100) == b""
        assert segments(one.client) - before == 1


def test_a_backend_that_goes_on_behind_quit_holds_no_answer_back() -> None:
    """Whoever waits for the answer has it, whenever the backend closes."""
    with joined() as one:
        one.client.sendall(b"QUIT\r\n")
        one.turn(lambda: one.relay.watch.quit)
        one.backend.sendall(b"+OK bye\r\n")
        one.turn(lambda: one.relay.to_client)
        assert one.client.recv(100) == b"+OK bye\r\n"
        assert one.relay.lingers is False
        one.backend.close()
        one.turn(lambda: one.ending)
        assert one.ending == "quit"


class Counting(Channel):
    """A connection that knows how often it was read."""

    reads = 0

    def receive(self, most: int) -> bytes | None:
        self.reads += 1
        return super().receive(most)


def test_the_end_behind_quit_is_told_and_not_read() -> None:
    """A backend that has closed by then is read once for its last answer: the kernel has said that no more comes."""
    with joined(backend=Counting) as one:
        one.client.sendall(b"QUIT\r\n")
        one.turn(lambda: one.relay.watch.quit)
        one.backend.sendall(b"+OK bye\r\n")
        one.backend.close()
        one.turn(lambda: one.ending)
        assert one.ending == "quit"
        assert isinstance(one.to_backend, Counting)
        assert one.to_backend.reads == 1
        assert one.client.recv(100) == b"+OK bye\r\n"


class Weighed(Channel):
    """A connection that knows how much was sent at once, at most."""

    most_sent = 0

    def send(self, data: bytes) -> int:
        self.most_sent = max(self.most_sent, len(data))
        return super().send(data)


def test_what_a_client_in_tls_sends_at_once_is_not_piled_up() -> None:
    """A turn may bring any number of pieces: what is held for the backend stays as small as in clear."""
    with joined(in_tls, Weighed) as one:
        for _ in range(40):
            one.client.sendall(b"NOOP\r\n" * 500)
        one.turn(lambda: one.relay.from_client == 40 * 500 * 6)
        assert isinstance(one.to_backend, Weighed)
        assert 0 < one.to_backend.most_sent < 2 * 4096


class Deciphered(Channel):
    """A connection in TLS of which OpenSSL has read more than was asked for, so that the kernel holds nothing of it."""

    def pending(self) -> bool:
        return True


def test_what_openssl_holds_back_may_be_a_quit() -> None:
    """Deletes are not cut at a deadline while something of the client is unread, wherever it lies."""
    for channel, cost in ((Channel, CutCost.UNCOMMITTED), (Deciphered, CutCost.COMMITTING)):
        with joined(channel) as one:
            one.client.sendall(b"DELE 1\r\n")
            one.turn(lambda: one.relay.watch.deletes)
            assert one.relay.cut_cost() is cost


@pytest.mark.parametrize("ending", ["quit", "client_reset"])
def test_what_came_in_the_turn_of_the_end_has_left(ending: str) -> None:
    """Whoever ends the session: client and backend have what the other said before."""
    with joined() as one:
        one.relay.begin(b"+OK\r\n", b"STAT\r\n")
        one.relay_ended(ending)
        assert one.client.recv(100) == b"+OK\r\n"
        assert one.backend.recv(100) == b"STAT\r\n"


def test_what_was_sent_at_the_end_survives_a_reset() -> None:
    """Where something of the other side is unread the kernel closes by a reset, and drops what it holds back: QUIT had
    left by then, and so had the answer to it.
    """
    with joined() as one:
        one.relay.begin(b"+OK bye\r\n", b"QUIT\r\n")
        one.backend.sendall(b"+OK 120 octets\r\n")
        one.client.sendall(b"NOOP\r\n")
        one.relay_ended("client_reset")
        assert one.backend.recv(100) == b"QUIT\r\n"
        assert one.client.recv(100) == b"+OK bye\r\n"


def test_a_client_that_takes_nothing_is_waited_for_before_the_end() -> None:
    """The end of the backend is read once more when he has taken what came before it."""
    much = b"x" * 4000 + b"\r\n"
    with joined() as one:
        sent = 0
        while not one.relay._for_client or one.relay._flush_scheduled:
            one.backend.sendall(much)
            sent += len(much)
            one.turn(lambda sent=sent: one.relay.to_client == sent)  # type: ignore[misc]
        one.backend.sendall(b"+OK last\r\n")
        one.backend.close()
        took = b""
        while b"last\r\n" not in took[-20:]:
            one.loop.core.run(0.0)
            took += one.client.recv(1 << 20)
        assert len(took) == sent + 10
        one.turn(lambda: one.ending)
        assert one.ending == "backend_closed"


def test_an_answer_to_quit_that_the_client_cannot_take_yet_is_not_lost() -> None:
    """The backend has closed after it, and the end waits until the client has made room."""
    with joined() as one:
        filled = 0
        for octets in (1 << 16, 1 << 10, 1) * 5:  # down to the last one that the kernel takes, whatever it moves about
            time.sleep(0.01)
            while taken := one.to_client.send(b"x" * octets):
                filled += taken
        one.client.sendall(b"QUIT\r\n")
        one.turn(lambda: one.relay.watch.quit)
        one.backend.sendall(b"+OK bye\r\n")
        one.backend.close()
        one.turn(lambda: one.relay.to_client)
        took = b""
        while len(took) < filled + 9:
            one.loop.core.run(0.0)
            piece = one.client.recv(1 << 20)
            assert piece, "the end came before the answer"
            took += piece
        assert took.endswith(b"x+OK bye\r\n")
        one.turn(lambda: one.ending)
        assert one.ending == "quit"
