"""An nginx mail proxy and its auth server: nginx is replaced by pproxy, whose module `http` asks the same server."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pytest

from tests.system.site import LOOPBACK, PATIENCE, Peer, PopClient, Proxy, ScriptedBackend, free_port, need, wait_until

_MODULE = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
_NGINX = """\
{load}
daemon off;
master_process off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ }}
mail {{
    server_name mail.example.org;
    auth_http {address}:{auth}/auth;
    auth_http_header X-Auth-Key shared;
    server {{ listen {address}:{port}; protocol pop3; pop3_auth plain; }}
}}
"""

ANSWERS: dict[str, dict[str, str]] = {
    "ann": {"Auth-Status": "OK"},
    "joe": {"Auth-Status": "OK", "Auth-User": "j/oe", "Auth-Pass": "0urs"},
    "max": {"Auth-Status": "Invalid login or password", "Auth-Wait": "1", "Auth-Error-Code": "535 5.7.8"},
    "eve": {"Auth-Status": "Invalid login or password"},
    "odd user": {"Auth-Status": "Account is locked"},
    "broken": {"Auth-Status": "OK", "Auth-Server": "", "Auth-Port": "x"},
}
PASSWORD = "p%20 w+\u00e9:d"


class AuthServer:
    """Answers by the user's name; `asked` has the headers of each question."""

    def __init__(self, backend: int) -> None:
        self.asked: list[dict[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(
                    {name: value for name, value in self.headers.items() if name[:4] in ("Auth", "Clie", "X-Au")}
                )
                user = self.headers["Auth-User"].replace("%20", " ")
                self.send_response(200)
                place = {"Auth-Server": LOOPBACK, "Auth-Port": str(backend)}
                for name, value in {**place, **ANSWERS[user]}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> "AuthServer":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def takes_all(peer: Peer) -> None:
    """A backend that lets everybody in, and tells as whom."""
    peer.say(b"+OK ready\r\n")
    said = []
    for _ in range(2):
        said.append(peer.line())
        if said == [b"CAPA"]:
            return
        peer.say(b"+OK " + b" ".join(said) + b"\r\n")
    peer.rest()


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Any]:
    binary, processes = need("nginx"), []

    def start(auth: int) -> int:
        port = free_port()
        load = f"load_module {_MODULE};" if _MODULE.exists() else ""
        text = _NGINX.format(load=load, home=tmp_path, address=LOOPBACK, auth=auth, port=port)
        (tmp_path / "nginx.conf").write_text(text)
        command = [binary, "-e", str(tmp_path / "error.log"), "-c", str(tmp_path / "nginx.conf")]
        processes.append(Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL))

        def greets() -> bool:
            assert processes[0].poll() is None, (tmp_path / "error.log").read_text()
            try:
                with PopClient(port) as client:
                    return client.line().startswith(b"+OK")
            except ConnectionError:
                return False

        wait_until(greets, "nginx greets")
        return port

    try:
        yield start
    finally:
        for process in processes:
            process.terminate()
            process.wait(PATIENCE)


def outcome(port: int, user: str) -> tuple[bytes, float]:
    """What the client gets, and after how many seconds; but for our response code, and our words for a server that
    answers nonsense.
    """
    with PopClient(port) as client:
        assert client.ask(f"USER {user}").startswith(b"+OK")
        began = time.monotonic()
        answer = client.ask(f"PASS {PASSWORD}")
        seconds = time.monotonic() - began
        failed = not answer.startswith(b"+OK") and ANSWERS[user]["Auth-Status"] == "OK"
        return answer[:4] if failed else answer.replace(b"[AUTH] ", b""), seconds


@pytest.mark.nightly
def test_the_server_is_asked_the_same_and_the_client_gets_the_same(nginx: Any, tmp_path: Path) -> None:
    """Header by header; whom the backend hears of; and how long a refusal is held back (Auth-Wait)."""
    key = tmp_path / "key"
    key.write_text("shared\n")
    port = free_port()
    with ScriptedBackend(takes_all) as backend, AuthServer(backend.port) as server:
        rc = [
            f"backend conf b host {LOOPBACK} port {backend.port} state online pipelining off",
            f"pdm add all http http://{LOOPBACK}:{server.port}/auth header X-Auth-Key passwordfile {key}",
            f"pdm conf all allow {LOOPBACK}:{backend.port} like b",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ]
        old = nginx(server.port)
        with Proxy(tmp_path, rc) as proxy:
            for user in ANSWERS:
                was, seconds_then = outcome(old, user)
                now, seconds_now = outcome(port, user)
                assert now == was, user
                before, after = server.asked[-2:]
                assert after == before
                assert (seconds_then >= 1) is (seconds_now >= 1) is ("Auth-Wait" in ANSWERS[user])
            for which in (old, port):
                server.asked.clear()
                with PopClient(which) as client:
                    for _ in range(2):
                        client.log_in("max", PASSWORD)
                assert [headers["Auth-Login-Attempt"] for headers in server.asked] == ["1", "2"]
            assert "shared" not in proxy.logfile.read_text()
