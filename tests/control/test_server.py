"""The control server, on real unix sockets and a real loop."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supervisor.control.wire.server import MOST_CLIENTS
from supervisor.pcontrol.connection import Connection, ControlReply, ReplyReader
from tests.control.console import Console, console
from tests.patience import patient, within


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Console]:
    with console(tmp_path / "x.ctrl") as running:
        yield running


def raw(here: Console) -> socket.socket:
    """A client that sends what it likes."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(patient(10))
    client.connect(str(here.path))
    return client


def answers(client: socket.socket, count: int) -> list[ControlReply]:
    """The next `count` replies."""
    reader = ReplyReader()
    got: list[ControlReply] = []
    while len(got) < count:
        data = client.recv(65536)
        assert data, "the server closed the connection"
        got += reader.feed(data)
    return got


def say(here: Console, command: str) -> ControlReply:
    """One command from a client of its own."""
    connection = Connection(here.path, 10)
    try:
        return connection.say(command)
    finally:
        connection.close()


def test_a_command_is_answered_and_the_peer_is_known(here: Console) -> None:
    """A command reaches its conductor with the peer's user id, and the reply comes back."""
    assert say(here, "echo hello") == ControlReply(True, "said", ["hello"])
    assert say(here, "nonsense") == ControlReply(False, "column 1: nonsense is unknown", [])
    assert here.heard == [("echo hello", os.getuid()), ("nonsense", os.getuid())]


def test_replies_come_in_the_order_of_the_commands(here: Console) -> None:
    """A slow command holds back the quick ones after it, of the same client only."""
    with raw(here) as client:
        client.sendall(b"slow 1\necho 2\nslow 3\r\necho 4\n")
        assert say(here, "echo other").ok
        assert [answer.lines for answer in answers(client, 4)] == [["1"], ["2"], ["3"], ["4"]]


def test_octet_by_octet(here: Console) -> None:
    """A request may arrive in any pieces."""
    with raw(here) as client:
        for octet in b"echo pieces\n":
            client.send(bytes([octet]))
        assert answers(client, 1)[0].lines == ["pieces"]


@pytest.mark.parametrize("bad", [b"x" * 100_000, b"a\x00b", b"\xff"])
def test_a_malformed_line_is_refused_and_the_connection_goes_on(here: Console, bad: bytes) -> None:
    """100 kB, NUL, or what is not text: one -ERR, then the next command is served."""
    with raw(here) as client:
        client.sendall(bad + b"\necho on\n")
        first, second = answers(client, 2)
        assert not first.ok
        assert second == ControlReply(True, "said", ["on"])


def test_many_commands_at_once(here: Console) -> None:
    """Ten thousand commands in a row are all answered, in order."""
    with raw(here) as client:
        client.setblocking(True)
        sent = 0
        for batch in range(20):
            client.sendall(b"".join(b"echo %d\n" % number for number in range(batch * 500, batch * 500 + 500)))
            got = answers(client, 500)
            assert [answer.lines for answer in got] == [[str(number)] for number in range(sent, sent + 500)]
            sent += 500


def test_half_a_command_holds_nobody_up(here: Console) -> None:
    """A client that stops in the middle of a command is no trouble to others, and may go on later."""
    with raw(here) as client:
        client.sendall(b"echo ha")
        for _ in range(5):
            assert say(here, "echo x").ok
        client.sendall(b"lf\n")
        assert answers(client, 1)[0].lines == ["half"]


def test_a_client_that_does_not_read_holds_nobody_up(here: Console) -> None:
    """Large replies wait for their reader; others are served; and in the end everything arrives."""
    with raw(here) as client:
        client.sendall(b"lines 20000\nlines 20000\necho end\n")
        time.sleep(0.2)
        assert say(here, "echo x").ok
        assert [heard for heard, _ in here.heard].count("lines 20000") == 1, "the second must wait for the first reply"
        assert [len(answer.lines) for answer in answers(client, 3)] == [20000, 20000, 1]


def test_a_client_may_leave_while_its_command_is_carried_out(here: Console) -> None:
    """Clients that vanish at any moment leave nothing behind."""
    for data in (b"slow 1\n", b"lines 50000\n", b"echo ha", b"", b"slow 1\nslow 2\n"):
        client = raw(here)
        client.sendall(data)
        client.close()
    deadline = time.monotonic() + patient(10)
    while here.server._clients and time.monotonic() < deadline:
        assert say(here, "echo x").ok
        time.sleep(0.05)

    assert not here.server._clients


def test_forgotten_clients_cannot_lock_the_operator_out(here: Console) -> None:
    """One client more than there may be: the one that was silent longest makes room, and the newcomer is served."""
    clients = [raw(here)]
    clients[0].sendall(b"echo first\n")
    answers(clients[0], 1)
    for _ in range(MOST_CLIENTS - 1):
        client = raw(here)
        client.sendall(b"echo x\n")
        answers(client, 1)
        clients.append(client)
    clients[0].sendall(b"echo again\n")
    answers(clients[0], 1)

    assert say(here, "echo newcomer").ok
    assert clients[1].recv(10) == b"", "the silent one was closed"
    clients[0].sendall(b"echo still here\n")
    assert answers(clients[0], 1)[0].lines == ["still here"]
    for client in clients:
        client.close()


def test_the_last_reply_is_flushed(tmp_path: Path) -> None:
    """At the end of the master a reply is sent to a client that reads, and given up on one that does not."""
    with console(tmp_path / "y.ctrl") as there, raw(there) as client:
        client.sendall(b"lines 20000\n")
        time.sleep(0.2)
        there._over = True
        there._thread.join()
        began = time.monotonic()
        with within(0.5):
            there.server.flush(0.3)
        assert time.monotonic() - began > 0.2

        with ThreadPoolExecutor(1) as reader:
            answer = reader.submit(answers, client, 1)
            there.server.flush(10)
            assert len(answer.result()[0].lines) == 20000
