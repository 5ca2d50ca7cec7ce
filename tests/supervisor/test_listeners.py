"""Listening sockets: one for each slot, all or none, and refusals that people understand."""

import socket

import pytest

from supervisor.control.language import Refused
from supervisor.listeners import KEEPALIVE_IDLE_SECONDS, Listeners
from supervisor.program import Listener
from tests.system.site import LOOPBACK, free_port


def _listener(port: int, name: str = "v", address: str = LOOPBACK) -> Listener:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return Listener(name, family, (address, port), False)


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def test_each_slot_has_its_own_queue() -> None:
    """Two slots, one port: clients wait in either; the queue of one slot is accepted from that slot's socket only."""
    listeners, listener = Listeners(2), _listener(free_port())
    listeners.open([listener], 50)
    clients = [socket.create_connection(listener.address) for _ in range(40)]
    try:
        accepted = []
        for slot in range(2):
            listening = listeners.of_slot(slot)[listener]
            mine: list[socket.socket] = []
            while True:
                try:
                    mine.append(listening.accept()[0])
                except BlockingIOError:
                    break
            accepted.append(mine)
        assert sum(map(len, accepted)) == 40
        assert all(accepted)
        connection = accepted[0][0]
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_SECONDS
        for mine in accepted:
            for connection in mine:
                connection.close()
    finally:
        for client in clients:
            client.close()
        listeners.keep_only(())
    assert _refuses(listener.address[1])


def test_all_or_none() -> None:
    """One of three ports is taken: none is opened, those from before stay, and the text names what it is about."""
    listeners, before = Listeners(2), _listener(free_port(), "before")
    listeners.open([before], 5)
    with socket.create_server((LOOPBACK, 0)) as taken:
        wanted = [_listener(free_port(), "a"), _listener(taken.getsockname()[1], "b"), _listener(free_port(), "c")]
        with pytest.raises(Refused, match=f"b: {LOOPBACK} port {taken.getsockname()[1]} is in use by another program"):
            listeners.open(wanted, 5)
    assert listeners.missing([before, *wanted]) == wanted
    assert all(_refuses(listener.address[1]) for listener in wanted)
    assert not _refuses(before.address[1])
    listeners.keep_only([])


def test_an_address_that_is_not_ours_is_refused() -> None:
    """The text says that the address is another host's (192.0.2.1 is for documentation, RFC 5737)."""
    with pytest.raises(Refused, match=r"192\.0\.2\.1 is not an address of this host"):
        Listeners(1).open([_listener(free_port(), address="192.0.2.1")], 5)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this host has no IPv6")
def test_any_is_both_families() -> None:
    """A dual-stack socket serves IPv4 and IPv6 clients on one port; one for IPv6 alone refuses IPv4."""
    for dual_stack in (True, False):
        listeners, port = Listeners(1), free_port()
        listeners.open([Listener("v", socket.AF_INET6, ("::", port), dual_stack)], 5)
        try:
            socket.create_connection(("::1", port)).close()
            assert _refuses(port) != dual_stack
        finally:
            listeners.keep_only([])
