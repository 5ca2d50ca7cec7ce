"""A backend with several addresses: logins fail over from one that refuses, is deaf or does not greet, before it was
told who wants in.
"""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from popular.protocol.mailcheck import Mail, mail_answer
from popular.proxy.checks.canary import Patience, check
from popular.proxy.session.backend.backend_race import HEAD_START_SECONDS
from tests.patience import patient
from tests.proxy.test_addresses import deaf, made
from tests.system.certificates import Authority
from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.test_backend_tls import in_tls, server_context
from tests.system.test_blame import first_free
from tests.system.wire import (
    CheckServer,
    Peer,
    Play,
    PopClient,
    ScriptedBackend,
    commands,
    pop3_server,
    wait_until,
    xpop_server,
)

REFUSES, DEAF, GONE = "127.0.0.21", "127.0.0.22", "127.0.0.23"


def test_logins_go_where_there_is_a_connection(tmp_path: Path) -> None:
    """Past one that refuses, and after a quarter of a second past one that is deaf. If all refuse the log says so of
    each. The mail check goes the same way, and a backend's question what it announces.
    """
    port = free_port()
    users = tmp_path / "users"
    users.write_text(
        "".join(f"default:{name}:{{PLAIN}}secret:{name}:box\n" for name in ("refuses", "deaf", "gone", "asked"))
    )
    with (
        ScriptedBackend(pop3_server([b"one"])) as store,
        deaf(DEAF, store.port),
        CheckServer(default=mail_answer(Mail.NONE)) as checks,
        Proxy(
            tmp_path,
            [
                f"set checkport {checks.port}",
                "set workers 1",
                f"backend conf refuses host {REFUSES},{LOOPBACK} port {store.port} state online",
                f"backend conf deaf host {DEAF},{LOOPBACK} port {store.port} state online",
                f"backend conf gone host {REFUSES},{GONE} port {store.port} state online",
                f"backend conf asked host {REFUSES},{LOOPBACK} prot CXPOP state online",
                f"pdm add users passwd {users}",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ],
        ) as proxy,
    ):

        def log_in(user: str) -> tuple[bytes, float]:
            with PopClient(port) as client:
                began = time.monotonic()
                said = client.log_in(user, "secret")
                seconds = time.monotonic() - began
                if said.startswith(b"+OK"):
                    client.ask("QUIT")
                return said, seconds

        assert log_in("refuses")[0].startswith(b"+OK")
        said, seconds = log_in("deaf")
        assert said.startswith(b"+OK")
        assert seconds >= HEAD_START_SECONDS
        assert log_in("deaf")[0].startswith(b"+OK")
        assert log_in("gone")[0].startswith(b"-ERR [SYS/TEMP]")
        assert log_in("asked")[0] == b"+OK 0 messages (0 octets)"

        told = {entry.fields["backend"]: entry.fields for entry in proxy.log("backend_elsewhere")}
        assert told["refuses"]["address"] == LOOPBACK
        assert told["refuses"]["instead_of"] == REFUSES
        assert "refused" in told["refuses"]["reason"]
        assert "no connection within 0.25 s" in told["deaf"]["reason"]
        failed = proxy.log("backend_failed")[-1].fields
        assert failed["address"] == f"{REFUSES},{GONE}"
        assert f"{REFUSES}: Connection refused; {GONE}: Connection refused" in failed["reason"]
        assert proxy.state().counters()["backend_elsewhere"]["second"] >= 3
        shown = proxy.said("backend show refuses")
        assert f"host {REFUSES},{LOOPBACK} " in str(shown)
        wait_until(lambda: "announces" in str(proxy.said("backend show deaf")), "it was asked, at its other address")


def test_one_address_that_answers_is_used_for_the_whole_login(tmp_path: Path) -> None:
    """Once it has greeted it is the backend: what it does then is its own fault, and no other address is tried."""
    port = free_port()
    heard: list[bytes] = []
    with (
        socket.create_server((REFUSES, 0)) as first,
        ScriptedBackend(pop3_server([])) as second,
        Proxy(
            tmp_path,
            [
                "set workers 1",
                f"backend conf b host {REFUSES},{LOOPBACK} port {first.getsockname()[1]} state online",
                "pdm add all any b",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ],
        ) as proxy,
        PopClient(port) as client,
    ):
        client.connection.sendall(b"USER ann\r\nPASS secret\r\n")
        peer, _ = first.accept()
        peer.sendall(b"+OK\r\n")
        heard.append(peer.recv(100))
        peer.close()
        assert client.line().startswith(b"+OK")
        client.line()
        wait_until(lambda: proxy.log("backend_failed"), "it is told")
        assert proxy.log("backend_failed")[-1].fields["address"] == REFUSES
        assert heard == [b"USER ann\r\n"]
        assert not second.connections


# One that is connected, and no more


def closes(peer: Peer) -> None:
    """At once, without a word."""


def says_later(peer: Peer) -> None:
    """In two pieces."""
    peer.say(b"-ERR [SYS/TEMP] not ")
    peer.say(b"now\r\n")


def stalls(peer: Peer) -> None:
    """And hears no word."""
    assert peer.rest() == b""


def sleeps(peer: Peer) -> None:
    """Whatever it hears."""
    peer.rest()


def greets(peer: Peer) -> None:
    """And says +OK to whatever it hears, but has no list."""
    peer.say(b"+OK ready\r\n")
    for line in commands(peer):
        peer.say(b"-ERR\r\n" if line == b"CAPA" else b"+OK\r\n")
        if line == b"QUIT":
            return


def introduced(peer: Peer) -> None:
    """After a PROXY header."""
    header = peer.exactly(16)
    peer.exactly(int.from_bytes(header[14:]))
    greets(peer)


@contextmanager
def replicated(tmp_path: Path, first: Play, second: Play, words: str) -> Iterator[tuple[Proxy, int]]:
    """A proxy and its port; its backend `b` has two addresses."""
    port = free_port()
    with ScriptedBackend(second) as other, ScriptedBackend(first, REFUSES, other.port):
        lines = [
            f"backend conf b host {REFUSES},{LOOPBACK} port {other.port} state online {words}",
            "pdm add all any b",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, lines, workers=1) as proxy:
            yield proxy, port


def comes_in(port: int, source: str = LOOPBACK) -> float:
    """The seconds that a login took."""
    with socket.create_connection((LOOPBACK, port), patient(5), (source, 0)) as connection, Peer(connection) as client:
        client.line()
        began = time.monotonic()
        client.say(b"USER ann\r\nPASS secret\r\n")
        assert client.line().startswith(b"+OK")
        assert client.line().startswith(b"+OK")
        seconds = time.monotonic() - began
        client.say(b"QUIT\r\n")
        client.rest()
        return seconds


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (closes, "it closed the connection"),
        (says_later, "no proper greeting: -ERR [SYS/TEMP] not now"),
        (stalls, "no answer within 0.25 s"),
    ],
)
def test_one_that_does_not_greet_is_passed_by(tmp_path: Path, first: Play, reason: str) -> None:
    """Everybody is let in at the other one, and only who finds it out waits for it."""
    with replicated(tmp_path, first, greets, "") as (proxy, port):
        waited = comes_in(port)
        assert waited >= HEAD_START_SECONDS or first is not stalls
        for one in range(4):
            comes_in(port, f"127.0.0.{31 + one}")
        (told,) = proxy.log("backend_elsewhere")
        assert (told.fields["address"], told.fields["reason"]) == (LOOPBACK, reason)
        assert not proxy.log("backend_failed")


def test_an_address_for_which_we_lack_a_descriptor_has_its_turn_later(tmp_path: Path) -> None:
    """Nothing is said of it: the login goes on there as soon as there is one, and no backend is to blame."""
    with replicated(tmp_path, stalls, greets, "") as (proxy, port):
        (worker,) = proxy.workers()
        with PopClient(port) as client:
            assert client.ask("USER ann").startswith(b"+OK")
            usual = resource.prlimit(worker, resource.RLIMIT_NOFILE)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (first_free(worker) + 1, usual[1]))
            client.say(b"PASS secret\r\n")
            time.sleep(2 * HEAD_START_SECONDS)
            resource.prlimit(worker, resource.RLIMIT_NOFILE, usual)
            assert client.line().startswith(b"+OK")
        assert not proxy.log("backend_failed")


@pytest.mark.parametrize("first", [closes, says_later, stalls])
def test_a_check_passes_it_by_as_well(first: Play) -> None:
    """The store is well, as logins find it; where both addresses are sick it is not."""
    patience = Patience(0.3, patient(5))
    with ScriptedBackend(greets) as other, ScriptedBackend(first, REFUSES, other.port):
        place = f"port {other.port} health greeting"
        assert check(made(f"host {REFUSES},{LOOPBACK} {place}"), None, patience).why == ""
        assert check(made(f"host {REFUSES},{GONE} {place}"), None, patience).why not in ("", "Connection refused")


def test_where_none_greets_the_log_says_so_of_each(tmp_path: Path) -> None:
    """As one failure of the backend, at the greeting."""
    with replicated(tmp_path, closes, says_later, "") as (proxy, port), PopClient(port) as client:
        assert client.log_in("ann", "secret").startswith(b"-ERR [SYS/TEMP]")
        (failed,) = (entry.fields for entry in proxy.log("backend_failed"))
        assert failed["reason"] == (
            f"{REFUSES}: it closed the connection; {LOOPBACK}: no proper greeting: -ERR [SYS/TEMP] not now"
        )
        assert (failed["step"], failed["address"]) == ("reading the greeting", f"{REFUSES},{LOOPBACK}")


@pytest.mark.parametrize("words", ["sendproxy v2", "tls implicit verify off", "prot XPOP tls implicit verify off"])
def test_what_is_said_before_the_greeting_is_no_login(tmp_path: Path, words: str) -> None:
    """A PROXY header, and TLS. Also of one that does not greet, where TLS tells that it is there."""
    play: Play = introduced
    if "tls" in words:
        context = server_context(Authority().issue("store.example.org"), tmp_path)
        play = in_tls(context, xpop_server([]) if "XPOP" in words else greets)
    for first in (closes, sleeps):
        (tmp_path / first.__name__).mkdir()
        with replicated(tmp_path / first.__name__, first, play, words) as (proxy, port):
            assert comes_in(port) >= (HEAD_START_SECONDS if first is sleeps else 0)
            comes_in(port)
            assert not proxy.log("backend_failed")
