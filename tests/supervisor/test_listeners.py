"""Listening sockets: one for each copy, all or none, refusals that people understand, and an end that loses nobody."""

import errno
import socket
import threading

import pytest

from supervisor.master.listeners import Listeners
from supervisor.sockets.listener import Address, Listener
from supervisor.sockets.sources import KEEPALIVE_IDLE_SECONDS, Binding, duplicate
from tests.patience import patient
from tests.system.site import LOOPBACK, free_port


def _listener(port: int, name: str = "v", address: str = LOOPBACK) -> Listener:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return Listener(name, family, (address, port), dual_stack=False)


def _open(listeners: Listeners, wanted: list[Listener], slots: int) -> str | None:
    """Opens what is missing; the reason if it is refused."""
    answers: list[str | None] = []
    listeners.open(listeners.missing(wanted, slots), 50, answers.append)
    (answer,) = answers
    return answer


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def _accept_all(listening: socket.socket) -> list[socket.socket]:
    accepted: list[socket.socket] = []
    while True:
        try:
            accepted.append(listening.accept()[0])
        except BlockingIOError:
            return accepted


def test_each_slot_has_its_own_queue() -> None:
    """Two slots, one port: clients wait in either; the queue of one slot is accepted from that slot's socket only."""
    listeners, listener = Listeners(Binding()), _listener(free_port())
    assert _open(listeners, [listener], 2) is None
    clients = [socket.create_connection(listener.address) for _ in range(40)]
    try:
        accepted = [_accept_all(listeners.of_slot(slot)[listener]) for slot in range(2)]
        assert sum(map(len, accepted)) == 40
        assert all(accepted)
        connection = accepted[0][0]
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_SECONDS
        for connection in [*accepted[0], *accepted[1]]:
            connection.close()
    finally:
        for client in clients:
            client.close()
        listeners.let_go()
    assert _refuses(listener.address[1])


def test_all_or_none() -> None:
    """One of three ports is taken: none is opened, those from before stay, and the text names what it is about."""
    listeners, before = Listeners(Binding()), _listener(free_port(), "before")
    assert _open(listeners, [before], 2) is None
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        wanted = [_listener(free_port(), "a"), _listener(port, "b"), _listener(free_port(), "c")]
        assert _open(listeners, wanted, 2) == f"b: {LOOPBACK} port {port} is in use by another program"
    assert {copy[0] for copy in listeners.missing([before, *wanted], 2)} == set(wanted)
    assert all(_refuses(listener.address[1]) for listener in wanted)
    assert not _refuses(before.address[1])
    listeners.let_go()


def test_an_address_that_is_not_ours_is_refused() -> None:
    """The text says that the address is another host's (192.0.2.1 is for documentation, RFC 5737)."""
    reason = _open(Listeners(Binding()), [_listener(free_port(), address="192.0.2.1")], 1)
    assert reason == "v: 192.0.2.1 is not an address of this host"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this host has no IPv6")
@pytest.mark.parametrize("dual_stack", [True, False])
def test_any_is_both_families(dual_stack: bool) -> None:
    """A dual-stack socket serves IPv4 and IPv6 clients on one port; one for IPv6 alone refuses IPv4."""
    listeners, port = Listeners(Binding()), free_port()
    assert _open(listeners, [Listener("v", socket.AF_INET6, ("::", port), dual_stack=dual_stack)], 1) is None
    try:
        socket.create_connection(("::1", port)).close()
        assert _refuses(port) != dual_stack
    finally:
        listeners.let_go()


def test_surplus_is_what_a_config_does_not_want() -> None:
    """Listeners that are gone, and slots that are too many; what is wanted stays open."""
    listeners, kept, gone = Listeners(Binding()), _listener(free_port(), "kept"), _listener(free_port(), "gone")
    assert _open(listeners, [kept, gone], 3) is None

    surplus = listeners.surplus([kept], 2)
    listeners.close(surplus)

    assert set(surplus) == {(kept, 2), (gone, 0), (gone, 1), (gone, 2)}
    assert listeners.missing([kept], 2) == []
    assert _refuses(gone.address[1])
    assert not _refuses(kept.address[1])
    listeners.let_go()


def test_a_silenced_socket_begins_nothing_and_loses_nobody() -> None:
    """Who is in the queue stays and can talk; who comes now gets no answer, and is refused when the socket is closed:
    he tries again by himself, a second later at most.
    """
    listeners, listener = Listeners(Binding()), _listener(free_port())
    assert _open(listeners, [listener], 1) is None
    early = socket.create_connection(listener.address)
    listeners.silence_all()

    results: list[int] = []
    with socket.socket() as late:
        thread = threading.Thread(target=lambda: results.append(late.connect_ex(listener.address)))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        (accepted,) = _accept_all(listeners.of_slot(0)[listener])
        early.sendall(b"hello")
        assert accepted.recv(10) == b"hello"
        listeners.let_go()
        thread.join(patient(5))
    assert results == [errno.ECONNREFUSED]
    accepted.close()
    early.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_port_of_another_program_of_this_user(address: str) -> None:
    """It is shared, as the kernel has it, and told once, however many sockets there are."""
    port = free_port()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    told: list[Address] = []
    other = Listeners(Binding())
    assert _open(other, [Listener("other", family, (address, port), dual_stack=True)], 2) is None
    mine = Listeners(Binding(told.append))
    assert _open(mine, [_listener(port)], 2) is None
    assert [address.address for address in told] == [(LOOPBACK, port)]
    mine.let_go()
    other.let_go()


def test_a_port_of_our_own() -> None:
    """More slots, another address of a port that is ours, and one that was given up while somebody still closes it."""
    told: list[Address] = []
    listeners, port = Listeners(Binding(told.append)), free_port()
    assert _open(listeners, [_listener(port, "any", "0.0.0.0")], 1) is None
    assert _open(listeners, [_listener(port, "any", "0.0.0.0"), _listener(port)], 2) is None
    still = [duplicate(one) for one in listeners.of_slot(0).values()]
    listeners.close(listeners.copies())
    assert _open(listeners, [_listener(port)], 1) is None
    for one in still:
        one.close()
    listeners.let_go()
    assert told == []


def test_what_is_left_of_a_program_that_has_ended_is_nobody() -> None:
    """Its sessions, living and in TIME_WAIT, do not keep the next one from its port."""
    told: list[Address] = []
    before, listener = Listeners(Binding()), _listener(free_port())
    assert _open(before, [listener], 1) is None
    clients = [socket.create_connection(listener.address) for _ in range(2)]
    living, closing = _accept_all(before.of_slot(0)[listener])
    closing.close()
    before.let_go()
    for client in clients:
        client.settimeout(patient(5))
    after = Listeners(Binding(told.append))
    assert _open(after, [listener], 1) is None
    after.let_go()
    for one in [*clients, living]:
        one.close()
    assert _open(after, [listener], 1) is None
    after.let_go()
    assert told == []


def test_a_deputy_is_lent_what_a_vacant_slot_has() -> None:
    """Each socket of it once, beside its own, and told apart from them; also of a listener that comes later."""
    listeners, first, late = Listeners(Binding()), _listener(free_port()), _listener(free_port(), "late")
    assert _open(listeners, [first], 3) is None
    listeners.deputies[1] = 0
    assert _open(listeners, [late], 3) is None
    lent = listeners.of_slot(0)
    assert {one.fileno() for one in lent.values()} == {
        one.fileno() for slot in (0, 1) for one in (listeners.of_slot(slot).values())
    }
    assert [key._replace(spare=0) for key in lent] == [first, first, late, late]
    assert {key: lent[key] for key in lent if key.spare} == listeners.borrowed_from(1, listeners.copies())
    assert set(listeners.of_slot(2)) == {first, late}
    listeners.let_go()
