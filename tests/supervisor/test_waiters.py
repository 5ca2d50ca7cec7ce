"""Who is taken up from the queue of a socket that has to be closed, and what becomes of him."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from supervisor.sockets.listener import Address, queue_of
from supervisor.sockets.silence import silence
from supervisor.sockets.sources import listen
from supervisor.table.contents import BASE_CELLS
from supervisor.worker.waiters import Waiters
from tests.patience import patient


class QuietLog:
    """Hears debug lines."""

    def debug(self, *_words: object, **_fields: object) -> None:
        """Forgets them."""


@dataclass
class Surroundings:
    """A worker's context, as far as it is needed here."""

    cells: list[int] = field(default_factory=lambda: [0] * len(BASE_CELLS))
    log: QuietLog = field(default_factory=QuietLog)

    @property
    def shown(self) -> int:
        """How many waiters stand in the table."""
        return self.cells[BASE_CELLS.index("waiters")]


class Server:
    """A service that notes whom it is to serve, and hangs up."""

    def __init__(self) -> None:
        self.served: list[tuple[int, int]] = []

    def serve(self, row_number: int, fd: int, peer: tuple[str, int], *, listener_name: str) -> None:
        """See Service."""
        assert listener_name == "v"
        socket.socket(fileno=fd).close()
        self.served.append((row_number, peer[1]))

    def retire(self) -> None:
        """See Service."""


class Port:
    """A socket in whose queue three clients wait."""

    def __init__(self) -> None:
        self.listening = listen(Address(socket.AF_INET, ("127.0.0.1", 0), dual_stack=False), 10)
        self.clients = [socket.create_connection(self.listening.getsockname(), patient(5)) for _ in range(3)]

    def numbers(self) -> list[int]:
        """The clients' ports."""
        return [client.getsockname()[1] for client in self.clients]

    def close(self) -> None:
        """Also what is closed already."""
        for one in (self.listening, *self.clients):
            one.close()


@pytest.fixture
def port() -> Iterator[Port]:
    """With its clients."""
    made = Port()
    yield made
    made.close()


@pytest.fixture
def unused() -> list[Any]:
    """The services for which nobody waits any more."""
    return []


@pytest.fixture
def worker() -> Surroundings:
    """With nobody waiting."""
    return Surroundings()


@pytest.fixture
def waiters(worker: Any, unused: list[Any]) -> Waiters:
    """Nobody yet."""
    return Waiters(worker, unused.append)


def test_they_are_served_in_their_order(waiters: Waiters, port: Port, worker: Surroundings, unused: list[Any]) -> None:
    """The socket may be closed meanwhile; with the last of them the service is told unused."""
    server = Server()
    silence(port.listening)
    assert waiters.take_up(port.listening, "v", server, most=10)
    port.listening.close()
    assert (len(waiters), worker.shown, waiters.wait_for(server)) == (3, 3, True)
    for token in range(3):
        assert unused == []
        assert waiters.is_anybody_there()
        waiters.serve_first(token)
    assert server.served == list(enumerate(port.numbers()))
    assert (len(waiters), worker.shown, waiters.wait_for(server)) == (0, 0, False)
    assert unused == [server]


def test_no_more_are_taken_up_than_there_is_room_for(waiters: Waiters, port: Port) -> None:
    """The rest stays in the queue; and everybody does where the socket was not silenced: others may accept from it."""
    assert not waiters.take_up(port.listening, "v", Server(), most=10)
    silence(port.listening)
    for most in (-1, 0, 2, 2):
        assert not waiters.take_up(port.listening, "v", Server(), most=most)
        assert (len(waiters), queue_of(port.listening)[0]) == (max(most, 0), 3 - max(most, 0))
    assert waiters.take_up(port.listening, "v", Server(), most=3)
    assert waiters.send_away() == {"v": 3}


def test_who_has_hung_up_is_passed_over(waiters: Waiters, port: Port, unused: list[Any]) -> None:
    """Whether he closed or broke off; not who has said something, and not who only waits."""
    server = Server()
    silence(port.listening)
    waiters.take_up(port.listening, "v", server, most=10)
    first, second, third = port.clients
    first.close()
    second.sendall(b"QUIT\r\n")
    second.shutdown(socket.SHUT_WR)
    assert waiters.is_anybody_there()
    assert len(waiters) == 2
    waiters.serve_first(7)
    assert waiters.is_anybody_there()
    third.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    third.close()
    assert not waiters.is_anybody_there()
    assert [token for token, _number in server.served] == [7]
    assert unused == [server]


def test_at_the_end_they_are_sent_away(waiters: Waiters, port: Port, worker: Surroundings, unused: list[Any]) -> None:
    """Closed, not reset, whatever they have said."""
    server = Server()
    silence(port.listening)
    waiters.take_up(port.listening, "v", server, most=10)
    for client in port.clients:
        client.sendall(b"CAPA\r\n")
    assert waiters.send_away() == {"v": 3}
    assert [client.recv(10) for client in port.clients] == [b"", b"", b""]
    assert (len(waiters), worker.shown, unused) == (0, 0, [server])
