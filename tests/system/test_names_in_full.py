"""Who sees user names in full on the status page: those who may connect to the control socket, or have the token."""

import contextlib
import grp
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import processes
from tests.patience import patient
from tests.system.scrape import address
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, program, wait_until

TOKEN = "0123456789abcdef"
NAME = "joe.bloggs"


class AtSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=patient(10))
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def users(connection: http.client.HTTPConnection, **fields: str) -> list[str]:
    """The names that are shown to who asks for them in full; a status in their place, if it is not 200."""
    with contextlib.closing(connection):
        connection.request("GET", "/status.json?users=1", headers=fields)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        assert NAME.encode() not in body
        return [str(answer.status)]
    told = json.loads(body)["sessions"]
    place = [column["name"] for column in told["columns"]].index("user")
    return [row[place] for row in told["rows"]]


def at_address(proxy: Proxy) -> http.client.HTTPConnection:
    host, port = address(proxy)
    return http.client.HTTPConnection(host, port, timeout=patient(10))


def site(port: int) -> list[str]:
    return [
        "backend conf store host 127.0.0.1 state fake",
        "pdm add all any store",
        f"vserv conf main iface {LOOPBACK} port {port} namespace n state online",
    ]


@contextlib.contextmanager
def logged_in(port: int) -> Iterator[None]:
    with PopClient(port) as client:
        client.greeted()
        assert client.log_in(NAME).startswith(b"+OK")
        yield


def test_over_the_socket_or_with_the_token_and_never_by_loopback(tmp_path: Path) -> None:
    """On the machine itself names are as short as from afar, also for who says that he is local; over the socket they
    are full, which goes on when the exporter is replaced.
    """
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(f"{TOKEN}\n")
    port = free_port()
    options = ["--metrics-token", str(token)]
    with Proxy(tmp_path, site(port), options=options, metrics=f"{LOOPBACK}:0") as proxy, logged_in(port):
        path = proxy.rundir / "pproxy.http"
        wait_until(lambda: users(at_address(proxy)) == ["j*"], "the session is shown, by its first letter")
        assert users(at_address(proxy), Host="localhost") == ["j*"]
        assert users(at_address(proxy), Authorization=f"Bearer {TOKEN}") == [NAME]
        assert users(at_address(proxy), Authorization=f"Bearer {TOKEN}x") == ["401"]
        assert users(AtSocket(path)) == [NAME]
        assert users(AtSocket(path), Host="bent.example") == ["j*"]
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((proxy.rundir / "pproxy.ctrl").stat().st_mode) == 0o600

        (exporter,) = set(processes.tree(proxy.pid)[1:]) - set(proxy.workers())
        os.kill(exporter, signal.SIGKILL)
        wait_until(lambda: len(proxy.log("exporter_listens")) == 2, "another one listens", patient(20))
        assert users(AtSocket(path)) == [NAME]
        assert TOKEN not in proxy.logfile.read_text()


def test_the_link_leads_to_the_newest_one_that_lives(tmp_path: Path) -> None:
    """As that of the control socket does; nothing is left of an instance that has ended, or has yielded."""
    with Proxy(tmp_path, metrics=f"{LOOPBACK}:0") as first:
        link = first.rundir / "pproxy.http"
        assert link.readlink() == Path(f"pproxy.{first.pid}.http")
        with Proxy(tmp_path, metrics=f"{LOOPBACK}:0") as second:
            assert link.readlink() == Path(f"pproxy.{second.pid}.http")
            assert users(AtSocket(link)) == []
            second.said("shutdown all")
            second.process.wait(patient(20))
            assert link.readlink() == Path(f"pproxy.{first.pid}.http")
            assert users(AtSocket(link)) == []
            second._killed = True  # its directory is not empty: the first one lives there


def test_without_an_exporter_there_is_no_socket(tmp_path: Path) -> None:
    """`--metrics off` is off."""
    with Proxy(tmp_path) as proxy:
        assert [path.name for path in proxy.rundir.iterdir() if path.suffix == ".http"] == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root is in every group")
def test_the_group_of_the_control_socket_may_connect_too(tmp_path: Path) -> None:
    """--ctrl-group holds for both sockets."""
    with Proxy(tmp_path, options=["--ctrl-group", "adm"], metrics=f"{LOOPBACK}:0") as proxy:
        sockets = [(proxy.rundir / f"pproxy.{kind}").stat() for kind in ("ctrl", "http")]
        assert {(one.st_gid, stat.S_IMODE(one.st_mode)) for one in sockets} == {(grp.getgrnam("adm").gr_gid, 0o660)}


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (TOKEN, 0o644, "everybody may read or write it"),
        ("short", 0o600, "wanted is one line of 16 to 256"),
        (f"{TOKEN}\n{TOKEN}\n", 0o600, "wanted is one line"),
        ("", 0o600, "wanted is one line"),
        ("ünfähig-zu-allem-hier", 0o600, "wanted is one line"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_token_that_cannot_be_used_ends_the_start(tmp_path: Path, text: str | None, mode: int, reason: str) -> None:
    """With the file and the reason, and never the token."""
    token = tmp_path / "token"
    if text is not None:
        token.write_text(text)
        token.chmod(mode)
    command = [program("pproxy"), "-r", str(tmp_path / "run"), "-l", "-", "--metrics-token", str(token)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patient(30), check=False)
    assert done.returncode != 0
    assert f"metrics token {token}: {reason}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not text or text not in done.stderr
