"""Sockets that are made deaf and hear again, with rights and without; and how they are dealt."""

import multiprocessing
import os
import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.sockets.listener import Address
from supervisor.sockets.silence import is_silenced, silence, unsilence
from supervisor.sockets.sources import deal, duplicate, listen
from supervisor.system import accept
from tests.patience import patient
from tests.system.site import LOOPBACK

_IP_MINTTL = 21
FAMILIES = [
    (Address(int(socket.AF_INET), (LOOPBACK, 0), False), LOOPBACK),
    (Address(int(socket.AF_INET6), ("::", 0), True), LOOPBACK),
    (Address(int(socket.AF_INET6), ("::", 0), True), "::1"),
]


def _connects(port: int, host: str) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        client.settimeout(0.2)
        try:
            client.connect((host, port))
        except TimeoutError:
            return False
    return True


def _deaf_and_not_deaf(copy: Address, host: str) -> None:
    with listen(copy, 10) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection((host, port)) as early:
            assert not is_silenced(listening)
            silence(listening)
            assert is_silenced(listening)
            assert not _connects(port, host)
            accepted, _peer = listening.accept()
            early.sendall(b"here")
            accepted.settimeout(patient(1))
            assert accepted.recv(10) == b"here"
            accepted.close()
            unsilence(listening)
            assert not is_silenced(listening)
            assert _connects(port, host)
            unsilence(listening)


def _run_as_nobody(call: Callable[[Address, str], None], copy: Address, host: str) -> None:
    os.setresuid(65534, 65534, 65534)
    call(copy, host)


@pytest.mark.parametrize(("copy", "host"), FAMILIES)
def test_silence(copy: Address, host: str) -> None:
    """No new connection; who is in the queue is served; afterwards all is as before."""
    _deaf_and_not_deaf(copy, host)


@pytest.mark.processes
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("copy", "host"), FAMILIES)
def test_silence_without_rights(copy: Address, host: str) -> None:
    """Nor does it take a new connection where no capability is left: newer kernels let it attach no filter."""
    child = multiprocessing.get_context("fork").Process(
        target=_run_as_nobody, args=(_deaf_and_not_deaf, copy, host), daemon=True
    )
    child.start()
    child.join(patient(10))
    assert child.exitcode == 0
    child.close()


def test_who_was_half_open_hears() -> None:
    """What a connection inherits from a deaf socket is taken from it when it is accepted."""
    with listen(FAMILIES[0][0], 10) as listening:
        listening.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, 60)
        with socket.create_connection(listening.getsockname()):
            deaf, _peer = listening.accept()
            with deaf:
                assert deaf.getsockopt(socket.IPPROTO_IP, _IP_MINTTL) == 60
        with socket.create_connection(listening.getsockname()) as client:
            fd, host, port = accept(listening.fileno())
            with socket.socket(fileno=fd) as accepted:
                assert (host, port) == client.getsockname()
                assert not os.get_blocking(fd)
                assert accepted.getsockopt(socket.IPPROTO_IP, _IP_MINTTL) == 0


def test_copies_do_not_block() -> None:
    """A copy leaves the mode of the socket alone, which all copies share."""
    with listen(FAMILIES[0][0], 10) as listening, duplicate(listening) as other:
        for one in (listening, other):
            assert not os.get_blocking(one.fileno())
            with pytest.raises(BlockingIOError):
                one.accept()
        assert os.fstat(one.fileno()).st_ino == os.fstat(listening.fileno()).st_ino
        assert not other.get_inheritable()


@given(st.lists(st.integers(), min_size=1, max_size=40, unique=True), st.integers(1, 40))
def test_dealing(sockets: list[int], copies: int) -> None:
    """Each copy has a socket, each socket a copy, and no copy has two more than another."""
    hands = deal(sockets, copies)
    assert len(hands) == copies
    assert {one for hand in hands for one in hand} == set(sockets)
    assert max(map(len, hands)) - min(map(len, hands)) <= 1
    assert sum(map(len, hands)) == max(len(sockets), copies)
