"""Each debug option, alone, has the lines that an operator would look for, and no others."""

import socket
from pathlib import Path

import pytest

from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from tests.store.test_pserv import Store
from tests.system.ring import RingDaemon
from tests.system.site import (
    LOOPBACK,
    PATIENCE,
    Entry,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    pop3_server,
    wait_until,
)
from tests.system.tlssite import AUTHORITY, TlsClient

PASSWORD = "kanarie-7b1f"
LARGE = b"0123456789abcdef" * 60 + b"\r\n"
LARGE *= 2000

MASTER = {
    "CTRL": {"request", "answer"},
    "RINGD": {"claim", "heard"},
    "MAIN": {
        "birth",
        "serving",
        "dismissed",
        "death",
        "change_step",
        "change_heard",
        "change_over",
        "shutdown_step",
        "ending",
        "worker_begins",
        "worker_prepared",
        "worker_committed",
        "worker_leaves",
        "worker_ends_at_once",
    },
}
"""What the supervisor says, whatever the program."""

PROXY_LINES = MASTER | {
    "AUTH": {"module", "decision"},
    "IO": {"read", "write", "connect", "handshake", "splice_from", "splice_to", "shutdown", "close"},
    "NET": {
        "listening_opened",
        "listening_closing",
        "listens",
        "listens_no_more",
        "accepting",
        "not_accepting",
        "accepted",
        "connecting",
        "connected",
        "backend_lost",
        "backend_left",
        "closed",
    },
    "PASS": {"client", "attempt"},
    "POP": {"client", "server", "proxy", "backend"},
    "TLS": {"handshake"},
}
STORE_LINES = MASTER | {
    "IO": {"read", "write", "close"},
    "MAIL": {"opened", "updated"},
    "NET": {
        "listening_opened",
        "listening_closing",
        "listens",
        "listens_no_more",
        "accepting",
        "not_accepting",
        "accepted",
        "named",
        "closed",
    },
    "PASS": {"client"},
    "POP": {"client", "server"},
    "TLS": {"handshake"},
}


def test_every_option_is_looked_at() -> None:
    """Both programs' options have a line each."""
    assert PPROXY.debug_options.keys() == PROXY_LINES.keys()
    assert PSERV.debug_options.keys() == STORE_LINES.keys()


def _lines(proxy: Proxy, option: str, wanted: set[str]) -> dict[str, list[Entry]]:
    """The debug lines by their names, without the option: what is wanted is there, and nothing of another option."""
    found: dict[str, list[Entry]] = {}
    for entry in proxy.log():
        if entry.number == "0000":
            assert entry.name.startswith(f"{option.lower()}_")
            found.setdefault(entry.name.partition("_")[2], []).append(entry)
    assert wanted - found.keys() == set()
    return found


def _renew(proxy: Proxy) -> None:
    """What makes the master speak."""
    proxy.said("workers recycle")
    proxy.said("set workers 1")
    proxy.said("show workers")


@pytest.mark.parametrize("option", [*PROXY_LINES, "NONE"])
def test_pproxy(tmp_path: Path, option: str) -> None:
    """Logins in clear and in TLS that are good, wrong, and at a backend that is not there; changes; the end."""
    port, tls_port, more_port, nobody = (free_port() for _ in range(4))
    users, tls = tmp_path / "users", tmp_path / "tls"
    users.write_text(f"default:bob:{{PLAIN}}{PASSWORD}:gone:\n")
    tls.mkdir()
    AUTHORITY.issue("localhost").write(tls, "default")
    with (
        RingDaemon(tmp_path) as ring,
        ScriptedBackend(pop3_server([LARGE], PASSWORD.encode())) as backend,
        Proxy(
            tmp_path,
            [
                f"backend conf there host {LOOPBACK} port {backend.port} state online",
                f"backend conf gone host {LOOPBACK} port {nobody} state online",
                f"set tlsdir {tls}",
                f"pdm add users passwd {users}",
                "pdm add all any there",
                f"debug ={option}",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
                f"vserv conf t iface {LOOPBACK} port {tls_port} prot POP3s state online",
            ],
            options=["--ringd", str(ring.socket)],
        ) as proxy,
    ):
        with PopClient(port) as client:
            assert client.log_in("ann", PASSWORD).startswith(b"+OK")
            assert client.retrieve(1) == LARGE
            client.ask("QUIT")
        with PopClient(port) as client:
            assert client.log_in("ann", "wrong").startswith(b"-ERR")
            client.ask("QUIT")
        with PopClient(port) as client:
            assert client.log_in("bob", PASSWORD).startswith(b"-ERR [SYS/TEMP]")
        with TlsClient(tls_port) as secure:
            secure.quit()
        proxy.wait_for_endings(4)
        proxy.said(f"vserv conf more iface {LOOPBACK} port {more_port} state fake")
        proxy.said("vserv del more")
        _renew(proxy)
    if option == "NONE":
        assert [entry.line for entry in proxy.log() if entry.number == "0000"] == []
        return
    found = _lines(proxy, option, PROXY_LINES[option])
    assert (PASSWORD in proxy.logfile.read_text()) is (option == "PASS")
    _assert_what_they_tell(option, found, port, backend.port, nobody)


def _assert_what_they_tell(
    option: str, found: dict[str, list[Entry]], port: int, backend_port: int, nobody: int
) -> None:
    fields = {name: [entry.fields for entry in entries] for name, entries in found.items()}
    match option:
        case "AUTH":
            asked = [(one["module"], one["answer"]) for one in fields["module"]]
            assert asked[:2] == [("users", "unknown"), ("all", "authenticated")]
            assert ("users", "authenticated") in asked
            assert all(0 <= float(one["seconds"]) < 10 for one in fields["module"])
            decision = fields["decision"][0]
            assert (decision["user"], decision["namespace"], decision["backend"]) == ("ann", "default", "there")
        case "CTRL":
            assert ("1", "workers 1") in [(one["count"], one["lines"]) for one in fields["answer"]]
            assert any(one["text"].startswith("2 workers are renewed") for one in fields["answer"])
        case "IO":
            legs = {(one["leg"], name) for name, some in fields.items() for one in some}
            assert {(leg, call) for leg in ("client", "backend") for call in ("read", "write", "close")} <= legs
            assert ("client", "handshake") in legs
            assert {"EINPROGRESS"} == {one["result"] for one in fields["connect"]}
            told = [(one["leg"], one["octets"], one["result"]) for one in fields["write"]]
            assert ("backend", "12", "12") in told, "PASS wrong"
            assert ("backend", "end") in [(one["leg"], one["result"]) for one in fields["read"]]
        case "MAIN":
            steps = [one["step"] for one in fields["change_step"]]
            assert {"opening", "preparing", "committing", "closing"} == set(steps)
        case "NET":
            (one, *_) = fields["accepted"]
            assert (one["vserv"], one["client"], one["local_port"]) == ("v", LOOPBACK, str(port))
            assert {(one["backend"], one["port"]) for one in fields["connecting"]} == {
                ("there", str(backend_port)),
                ("gone", str(nobody)),
            }
            assert "Connection refused" in [one["reason"] for one in fields["backend_lost"]]
            assert {"quit", "backend_failed"} <= {one["reason"] for one in fields["closed"]}
        case "PASS":
            tried = [(one["user"], one["password"]) for one in fields["attempt"]]
            assert tried == [("ann", PASSWORD), ("ann", "wrong"), ("bob", PASSWORD)]
        case "POP":
            assert {"USER ann", "PASS ****"} <= {one["line"] for one in fields["client"]}
            assert {"USER ann", "PASS ****"} <= {one["line"] for one in fields["proxy"]}


@pytest.mark.parametrize("option", [*STORE_LINES, "NONE"])
def test_pserv(tmp_path: Path, option: str) -> None:
    """A session that reads and deletes a mail, and says PASS by mistake; one in TLS; changes; the end."""
    store = Store(tmp_path)
    tls, tls_port = tmp_path / "tls", free_port()
    tls.mkdir()
    AUTHORITY.issue("localhost").write(tls, "default")
    with RingDaemon(tmp_path) as ring:
        store._command += ["--ringd", str(ring.socket)]
        store._rc_lines.insert(0, f"debug ={option}")
        with store:
            store.put("joe", b"Subject: one\r\n\r\nhello\r\n")
            with store.open("joe", "d.1.1") as client:
                client.retrieve(1)
                client.ask(f"PASS {PASSWORD}")
                client.ask("DELE 1")
                client.ask("QUIT")
            store.said("server conf state offline")
            store.said(f"set tlsdir {tls}")
            store.said(f"server conf port {tls_port} prot XPOPs clientcert off state online")
            plain = socket.create_connection((LOOPBACK, tls_port), PATIENCE)
            with AUTHORITY.trusting().wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"joe\r\nd.1.2\r\n\r\nQUIT\r\n")
                while secure.recv(4096):
                    pass
            store.wait_for_endings(2)
            _renew(store)
    if option == "NONE":
        assert [entry.line for entry in store.log() if entry.number == "0000"] == []
        return
    found = _lines(store, option, STORE_LINES[option])
    assert (PASSWORD in store.logfile.read_text()) is (option == "PASS")
    assert "hello" not in store.logfile.read_text()
    if option == "IO":
        assert {entry.sid for entry in found["write"]} == {"d.1.1", "d.1.2"}, "calls go by the name that the proxy gave"


def test_from_the_very_start(tmp_path: Path) -> None:
    """--debug shows the start itself; what an rc file says about it counts from then on."""
    rc = tmp_path / "rc"
    rc.write_text("debug =CTRL\n")
    with Proxy(tmp_path, options=["--debug", "main,NET", "-c", str(rc)]) as proxy:
        wait_until(lambda: len(proxy.log("worker_born")) == 2, "both workers serve")
        names = [entry.name for entry in proxy.log()]
        assert names[:2] == ["start", "main_birth"]
        assert {"main_worker_begins", "main_change_step", "net_accepting"} <= set(names)
        wait_until(lambda: proxy.said("show pid").ok and proxy.log("ctrl_request"), "the rc file is in force")
    assert "main_shutdown_step" not in [entry.name for entry in proxy.log()]
