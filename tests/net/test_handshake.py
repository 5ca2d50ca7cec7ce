"""A handshake: how long its ClientHello is waited for, and what is left of one that is done."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from popular.net.channel import Channel
from popular.net.handshake import MOST_KEPT, Failure, Handshake, first_of
from popular.tls.contexts import TlsSettings
from supervisor.runtime.loop import READ
from supervisor.serving.eventloop import EventLoop
from supervisor.system import EventTaker
from tests.proxy.test_relay import connection, contexts

BEGINNING = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"
"""How a ClientHello of 200 octets begins."""


class OneLeg(EventTaker):
    """Whose connection it is: it writes down what it is told."""

    def __init__(self, core: Any, fd: int) -> None:
        self.channel = Channel(core, fd, self)
        self.heard = 0.0
        self.told: list[object] = []

    def ready(self, _fd: int, _events: int) -> None:
        raise AssertionError("the handshake is the one who is called")

    def handshake_done(self, agreed: object) -> None:
        self.told.append(agreed)

    def handshake_failed(self, failure: Failure) -> None:
        self.told.append(failure.reason)

    def nobody_came(self, broke: bool) -> None:
        self.told.append(broke)

    def fault(self, error: Exception) -> None:
        self.told.append(error)


@contextlib.contextmanager
def connected(context: ssl.SSLContext) -> Iterator[tuple[Handshake, OneLeg, socket.socket]]:
    """A handshake, its leg, and the client."""
    near, client = connection()
    with contextlib.closing(EventLoop()) as loop, client:
        leg = OneLeg(loop.core, near.detach())
        settings = TlsSettings({}, context, ssl.TLSVersion.TLSv1_2, verify_mode=ssl.CERT_NONE)
        try:
            yield Handshake(loop.clock, leg, settings), leg, client
        finally:
            leg.channel.close()


@pytest.fixture
def begun() -> Iterator[tuple[Handshake, OneLeg, socket.socket]]:
    """A handshake that has seen the beginning of a ClientHello."""
    with connected(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as (handshake, leg, client):
        client.sendall(BEGINNING)
        handshake.ready(leg.channel.fd, READ)
        yield handshake, leg, client


@pytest.mark.parametrize("pieces", [1, 8, 12])
def test_no_other_protocol_gets_by(pieces: int) -> None:
    """However its ClientHello is cut into records: more than eight we do not read, and OpenSSL does."""
    context, trusting = contexts()
    trusting.set_alpn_protocols(["http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()[5:]
    size = len(hello) // pieces + 1
    with connected(context) as (handshake, leg, client):
        for at in range(0, len(hello), size):
            piece = hello[at : at + size]
            client.sendall(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece)
        for _ in range(20):
            handshake.ready(leg.channel.fd, READ)
            if leg.told:
                break
            incoming.write(client.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            if said := outgoing.read():
                client.sendall(said)
        (why,) = leg.told
        assert (
            "http/1.1" in str(why) if pieces <= 8 else "could not be read: the ClientHello is in too many" in str(why)
        )


def test_a_wake_without_a_new_octet(begun: tuple[Handshake, OneLeg, socket.socket]) -> None:
    """The kernel may wake us sooner than it was asked to, when it is short of memory: that is not the client's end."""
    handshake, leg, _client = begun
    handshake.ready(leg.channel.fd, READ)
    assert (leg.told, leg.channel.tls) == ([], True)


def test_a_client_that_closes_in_the_middle(begun: tuple[Handshake, OneLeg, socket.socket]) -> None:
    """Such a wake too, but it is the end."""
    handshake, leg, client = begun
    client.shutdown(socket.SHUT_WR)
    handshake.ready(leg.channel.fd, READ)
    assert leg.told == ["the client closed before its ClientHello was whole"]


@pytest.mark.parametrize(("offered", "kept"), [(None, None), ((), ()), ((b"imap", b"pop3"), (b"imap", b"pop3"))])
def test_what_a_client_has_offered_is_known(offered: tuple[bytes, ...] | None, kept: tuple[bytes, ...] | None) -> None:
    """None is told apart from nothing."""
    assert first_of(offered) == kept


def test_thousands_of_protocols_take_no_memory() -> None:
    """A ClientHello has room for five thousand, which would be more than all the rest of a session."""
    many = (b"pop3", *(number.to_bytes(2) for number in range(5000)))
    assert first_of(many) == many[:MOST_KEPT]
