"""The load generator's word is trusted by the bench, so it is tested against servers that do not deserve +OK."""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import processes
from tests.bench.contestants import BENCH, BIN
from tests.bench.workloads import compile_programs
from tests.patience import patient

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    compile_programs(BENCH)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[int]:
    with processes.helper([BIN / "pop3sink", "-t", "60"], tmp_path / "log") as port:
        yield port


def load(port: int, *options: str) -> dict[str, float]:
    command = [str(BIN / "pop3load"), "-p", str(port), "-t", "5", "-c", "4", *options]
    told: dict[str, float] = json.loads(
        subprocess.run(command, capture_output=True, timeout=patient(20), check=True).stdout
    )
    return told


def spoil(port: int, backend: int, old: bytes, new: bytes) -> threading.Thread:
    """One session through a relay that puts `new` in place of the first `old` that the server says."""
    listener = socket.create_server(("127.0.0.1", port))
    listener.settimeout(patient(10))

    def relay() -> None:
        with listener:
            client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", backend), timeout=patient(10)) as server:
            client.settimeout(patient(10))
            try:
                client.sendall(server.recv(512).replace(old, new))
                while line := client.recv(512):
                    server.sendall(line)
                    reply = server.recv(512)
                    while line.startswith(b"RETR") and not reply.endswith(b"\r\n.\r\n"):
                        reply += server.recv(65536)
                    client.sendall(reply.replace(old, new, 1))
            except OSError:
                pass  # the client has seen the fault and gone

    thread = threading.Thread(target=relay)
    thread.start()
    return thread


@pytest.mark.parametrize("options", [[], ["-m"], ["-m", "-g", "1448"]])
def test_true_replies_are_no_errors(backend: int, options: list[str]) -> None:
    """Sessions with a server that says what it should are all counted, and none as an error."""
    told = load(backend, "-s", "50", *options)
    assert (told["sessions"], told["errors"]) == (50, 0)
    assert 0 < told["p50"] <= told["p99"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"+OK pop3sink", b"-ERR pop3sink"),
        (b"+OK logged in", b"-ERR [AUTH] no"),
        (b"+OK 3 ", b"+OK 2 "),
        (b"000050 ", b"000050x"),
        (b"\r\n..00100", b"\r\n.00100"),
        (b"000255 ", b""),
        (b"\r\n.\r\n", b"\r\n.\r\n+OK\r\n"),
        (b"+OK bye\r\n", b"+OK bye\r\n+OK\r\n"),
    ],
)
def test_every_wrong_octet_is_an_error(backend: int, old: bytes, new: bytes) -> None:
    """A refusal, a changed, lost or added octet, or a reply that nobody asked for makes the session an error."""
    port = processes.free_port()
    relay = spoil(port, backend, old, new)
    told = load(port, "-s", "1", "-m")
    relay.join(patient(10))
    assert told["errors"] == 1


def test_the_floor_relays_to_slow_and_fast_clients(backend: int, tmp_path: Path) -> None:
    """Through the floor every octet arrives, also when the client reads late and both sockets are full."""
    with processes.helper([BIN / "pop3floor", "-b", str(backend), "-t", "60"], tmp_path / "floor") as port:
        assert load(port, "-s", "50", "-m")["errors"] == 0
        with socket.create_connection(("127.0.0.1", port), timeout=patient(10)) as client:
            replies = client.makefile("rb")
            for command in (b"USER a\r\n", b"PASS b\r\n"):
                assert replies.readline().startswith(b"+OK")
                client.sendall(command)
            assert replies.readline().startswith(b"+OK")
            count = 600
            client.sendall(b"RETR 1\r\n" * (count // 2))
            client.sendall(b"RETR 2\r\n" * (count // 2) + b"QUIT\r\n")
            assert sum(line == b".\r\n" for line in replies) == count
