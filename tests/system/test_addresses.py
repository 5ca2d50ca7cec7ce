"""A backend with several addresses: logins fail over from one that refuses, or is deaf, before anything was sent."""

import socket
import time
from pathlib import Path

from popular.protocol.mailcheck import Mail, mail_answer
from popular.proxy.session.backend.backend_race import HEAD_START_SECONDS
from tests.proxy.test_addresses import deaf
from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.wire import CheckServer, PopClient, ScriptedBackend, pop3_server, wait_until

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
        assert proxy.state().counters()["backend_elsewhere"]["second"] >= 3  # type: ignore[index]
        shown = proxy.said("backend show refuses")
        assert f"host {REFUSES},{LOOPBACK} " in str(shown)
        wait_until(lambda: "announces" in str(proxy.said("backend show deaf")), "it was asked, at its other address")


def test_one_address_that_answers_is_used_for_the_whole_login(tmp_path: Path) -> None:
    """Once it is connected it is the backend: what it does then is its own fault, and no other address is tried."""
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
