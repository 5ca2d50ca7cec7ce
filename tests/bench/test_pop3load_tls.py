"""The clients in TLS: they verify, they count as resumed what was, and they check every octet as in clear."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import processes
from tests.bench.contestants import BENCH, BIN
from tests.bench.rounds import KEYS, make_certificate
from tests.bench.tlsserver import context, relay
from tests.bench.workloads import compile_programs, has_tls
from tests.patience import patient
from tests.system.site import need

SESSIONS = 20


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate; the programs are compiled."""
    need("cc")
    if not has_tls():
        need("openssl/ssl.h")
    compile_programs(BENCH)
    made = tmp_path_factory.mktemp("tls") / "own.pem"
    make_certificate(made, KEYS["ec"])
    return made


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[int]:
    with processes.helper([BIN / "pop3sink", "-t", "60"], tmp_path / "log") as port:
        yield port


def load(port: int, authority: Path, *options: str | Path, sessions: int = SESSIONS) -> dict[str, int]:
    command = [BIN / "pop3load-tls", "-p", port, "-T", authority, "-s", sessions, "-c", 4, "-t", 10, *options]
    words = [str(word) for word in command]
    told: dict[str, int] = json.loads(
        subprocess.run(words, capture_output=True, timeout=patient(30), check=True).stdout
    )
    return told


@pytest.mark.parametrize("version", [[], ["-2"]])
def test_full_handshakes(pem: Path, backend: int, version: list[str]) -> None:
    """None is resumed unless it was asked for; all are counted, and end as TLS should."""
    with relay(backend, context(pem)) as server:
        told = load(server.port, pem, *version, "-m")
    assert (told["sessions"], told["errors"], told["resumed"], told["clean"]) == (SESSIONS, 0, 0, SESSIONS)
    assert server.resumed == 0


@pytest.mark.parametrize("version", [[], ["-2"]])
def test_resumed_sessions(pem: Path, backend: int, tmp_path: Path, version: list[str]) -> None:
    """With a session that an earlier run was given, all are; the server counts the same."""
    kept = tmp_path / "session.pem"
    with relay(backend, context(pem)) as server:
        load(server.port, pem, *version, "-k", kept, sessions=4)
        told = load(server.port, pem, *version, "-r", kept)
        assert (told["errors"], told["resumed"], server.resumed) == (0, SESSIONS, SESSIONS)


def test_a_server_that_resumes_now_and_then(pem: Path, backend: int, tmp_path: Path) -> None:
    """Two sets of ticket keys: what was resumed is what the server says, and less than all."""
    kept = tmp_path / "session.pem"
    with relay(backend, context(pem), context(pem)) as server:
        load(server.port, pem, "-k", kept, sessions=4)
        told = load(server.port, pem, "-r", kept)
    assert (told["errors"], told["resumed"]) == (0, server.resumed)
    assert told["resumed"] < SESSIONS


def test_a_server_without_tickets(pem: Path, backend: int, tmp_path: Path) -> None:
    """There is nothing to keep, and that is an error."""
    with relay(backend, context(pem, tickets=0)) as server, pytest.raises(subprocess.CalledProcessError) as failed:
        load(server.port, pem, "-k", tmp_path / "session.pem")
    assert b"no session was given" in failed.value.stderr


@pytest.mark.parametrize("name", ["localhost", "elsewhere"])
def test_a_wrong_certificate_is_an_error(pem: Path, backend: int, tmp_path: Path, name: str) -> None:
    """One from another authority; and one for another name, from the right one."""
    other = tmp_path / "other.pem"
    make_certificate(other, KEYS["ec"], name)
    authority = pem if name == "localhost" else other
    with relay(backend, context(other)) as server:
        told = load(server.port, authority)
    assert told["errors"] == SESSIONS


@pytest.mark.parametrize(
    ("old", "new"), [(b"000050 ", b"000050x"), (b"+OK bye\r\n", b"-ERR bye\r\n"), (b"+OK 3 ", b"+OK 2 ")]
)
def test_every_wrong_octet_is_an_error(pem: Path, backend: int, old: bytes, new: bytes) -> None:
    """Inside TLS as in clear."""
    with relay(backend, context(pem), old=old, new=new) as server:
        assert load(server.port, pem, "-m", sessions=4)["errors"] == 4


def test_idle_connections(pem: Path, backend: int) -> None:
    """Tickets that come late are no word: who is logged in is held; one whom the server leaves is lost."""
    with relay(backend, context(pem)) as server:
        command = [BIN / "pop3load-tls", "-p", server.port, "-T", pem, "-h", 8, "-l", "-t", 20]
        words = [str(word) for word in command]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
            assert clients.stdout is not None
            assert clients.stdin is not None
            held = json.loads(clients.stdout.readline())
            clients.stdin.close()
            lost = json.loads(clients.stdout.readline())
    assert (held, lost) == ({"held": 8, "errors": 0}, {"lost": 0})


def test_without_headers_there_is_no_tls(pem: Path) -> None:
    """The plain form of the program says so."""
    assert shutil.which(BIN / "pop3load") is not None
    done = subprocess.run(
        [BIN / "pop3load", "-p", "1", "-T", pem], capture_output=True, text=True, timeout=patient(10), check=False
    )
    assert (done.returncode, done.stderr) == (2, "compiled without TLS\n")
