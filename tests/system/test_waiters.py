"""Ports that are given up while nobody can be served: they are closed at once, whoever comes anew gets to their next
owner, and who had come before is served as soon as there is a session.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.ring import RingDaemon
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

PLACES = 2
"""`maxsession` here."""


def _site(port: int, banner: str, *more: str) -> list[str]:
    vserv = f"vserv conf v iface {LOOPBACK} port {port} bannerok {banner} state fake"
    return ["set displace off", *more, vserv]


@contextlib.contextmanager
def _connected(port: int, count: int) -> Iterator[list[PopClient]]:
    """So many clients. Where a socket swallows their first packets one of them fails."""
    with contextlib.ExitStack() as held:
        yield [held.enter_context(PopClient(port, patience=patient(5))) for _ in range(count)]


@contextlib.contextmanager
def _full(port: int) -> Iterator[list[PopClient]]:
    """As many clients as there may be sessions, and each has one."""
    with _connected(port, PLACES) as clients:
        assert all(client.greeted().startswith(b"+OK") for client in clients)
        yield clients


def _greeted_by(banner: str, clients: Sequence[PopClient]) -> bool:
    return all(banner.encode() in client.greeted() for client in clients)


def _leave(clients: Sequence[PopClient]) -> None:
    for client in clients:
        assert client.ask("QUIT").startswith(b"+OK")
        client.close()


def _served_in_turn(banner: str, clients: Sequence[PopClient]) -> bool:
    """Each has said QUIT, so that the next one's turn comes."""
    for client in clients:
        client.say(b"QUIT\r\n")
    return all(client.rest().startswith(b"+OK " + banner.encode()) for client in clients)


def _wait_until_waiting(proxy: Proxy, count: int) -> None:
    wait_until(lambda: proxy.state().gauges()["waiting"] == count, f"{count} are known to wait")


def test_a_port_that_is_closed_while_no_session_is_free(tmp_path: Path) -> None:
    """New clients are refused at once. When the port is open again who waited before is served first, in his turn and
    as the port was when he came; who had hung up takes no session.
    """
    port = free_port()
    with (
        Proxy(tmp_path, _site(port, "ONE"), workers=1, options=["-n", str(PLACES)]) as proxy,
        _full(port) as inside,
        _connected(port, 4) as waiting,
    ):
        proxy.said("vserv conf v state offline")
        with pytest.raises(ConnectionRefusedError):
            PopClient(port)
        _wait_until_waiting(proxy, 4)
        waiting[1].close()
        proxy.said("vserv conf v bannerok TWO state fake")
        with _connected(port, 1) as late:
            _wait_until_waiting(proxy, 5)
            _leave(inside)
            assert _greeted_by("ONE", [waiting[0], waiting[2]])
            _leave([waiting[0]])
            assert _greeted_by("ONE", [waiting[3]])
            _leave([waiting[2]])
            assert _greeted_by("TWO", late)
            _leave([waiting[3], *late])
        proxy.wait_for_endings(PLACES + 4)
        _wait_until_waiting(proxy, 0)


def test_whoever_is_silent_makes_room_for_them(tmp_path: Path) -> None:
    """As for those who wait at a port."""
    port = free_port()
    with (
        Proxy(tmp_path, _site(port, "ONE"), options=["-n", str(PLACES)]) as proxy,
        _full(port),
        _connected(port, 1) as waiting,
    ):
        proxy.said("vserv del v")
        proxy.said("set displace on")
        assert _greeted_by("ONE", waiting)
        wait_until(lambda: "displaced" in proxy.endings(), "it has been told")


def test_workers_that_are_too_many_while_no_session_is_free(tmp_path: Path) -> None:
    """They keep none of the clients that come from then on, and go when they have served those that had come before."""
    port = free_port()
    with (
        Proxy(tmp_path, _site(port, "ONE"), workers=4, options=["-n", str(PLACES)]) as proxy,
        _full(port) as inside,
        _connected(port, 12) as waiting,
    ):
        proxy.said("set workers 1")
        with _connected(port, 12) as late:
            _wait_until_waiting(proxy, 24)
            _leave(inside)
            assert _served_in_turn("ONE", [*waiting, *late])
        wait_until(lambda: len(proxy.workers()) == 1, "one is left")


def test_another_instance_beside_one_that_is_full_and_goes(tmp_path: Path) -> None:
    """All who come from then on get to the new one; the old one serves who had come to it before, and ends."""
    port = free_port()
    (tmp_path / "new").mkdir()
    with (
        Proxy(tmp_path, _site(port, "OLD"), options=["-n", str(PLACES)]) as old,
        _full(port) as inside,
        _connected(port, 6) as waiting,
        Proxy(tmp_path / "new", _site(port, "NEW"), options=["--share-ports"]),
    ):
        old.said("shutdown delayed")
        with _connected(port, 12) as late:
            assert _greeted_by("NEW", late)
        _leave(inside)
        assert _served_in_turn("OLD", waiting)
        assert old.process.wait(patient(10)) == 0


def test_a_port_that_ringd_lends_and_nobody_else_holds(tmp_path: Path) -> None:
    """It is closed as one of our own would be; at the end of a program what ringd lends stays open."""
    port = free_port()
    rc = [*_site(port, "ONE"), "debug =NET"]
    with (
        RingDaemon(tmp_path) as ringd,
        Proxy(tmp_path, rc, options=["-n", str(PLACES), "--ringd", str(ringd.socket)]) as proxy,
        _full(port) as inside,
        _connected(port, 3) as waiting,
    ):
        proxy.said("vserv conf v state offline")
        with pytest.raises(ConnectionRefusedError):
            PopClient(port)
        proxy.said("vserv conf v state fake")
        with _connected(port, 1) as late:
            taken_up = len(proxy.log("net_taken_up"))
            proxy.said("shutdown delayed")
            assert len(proxy.log("net_taken_up")) == taken_up, "who waits in a queue of ringd's is left there"
            _leave(inside)
            assert _served_in_turn("ONE", [*waiting, *late])
        assert proxy.process.wait(patient(10)) == 0


def test_a_port_that_is_closed_while_the_load_is_too_high(tmp_path: Path) -> None:
    """New clients are refused at once, and who waited is served when the load has come down."""
    port, load = free_port(), tmp_path / "loadavg"
    load.write_text("0.00 0.00 0.00 1/100 1000\n")
    rc = _site(port, "ONE", "set maxlocalload 5", "debug =NET")
    with Proxy(tmp_path, rc, options=["--load-file", str(load)]) as proxy:
        load.write_text("99.00 0.00 0.00 1/100 1000\n")
        wait_until(lambda: len(proxy.log("net_not_accepting")) == 2, "both workers have heard of it")
        with _connected(port, 4) as waiting:
            proxy.said("vserv conf v state offline")
            with pytest.raises(ConnectionRefusedError):
                PopClient(port)
            load.write_text("0.00 0.00 0.00 1/100 1000\n")
            assert _greeted_by("ONE", waiting)
