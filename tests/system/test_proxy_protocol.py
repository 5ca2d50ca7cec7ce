"""Who the client is: the PROXY protocol from a real HAProxy, towards a real Dovecot, XCLIENT, and forged headers."""

import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popular.protocol.proxyheader import build
from tests.patience import patient
from tests.system.certificates import Authority
from tests.system.dovecot import Dovecot
from tests.system.site import LOOPBACK, Peer, PopClient, Proxy, ScriptedBackend, free_port, need
from tests.system.wire import pop3_server, wait_until, xpop_server

CLIENT = ("192.0.2.77", 4711)
CLIENT6 = ("2001:db8::77", 4712)
SERVER = ("198.51.100.1", 110)
HEADERS = {version: build(version, CLIENT, SERVER) for version in ("v1", "v2")}
NAME = "mail.example.org"

HAPROXY = """\
global
  maxconn 100
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen plain
  bind {host}:{plain}
  server one {host}:{behind} {send}
listen tls
  bind {host}:{tls}
  server one {host}:{behind_tls} {send}
"""


class Site:
    """A proxy with virtual servers that require a PROXY header, and one that trusts nobody here."""

    def __init__(self, tmp_path: Path, backend: str) -> None:
        self.port, self.tls_port, self.stranger, self.forced = free_port(), free_port(), free_port(), free_port()
        authority = Authority()
        authority.issue(NAME).write(tmp_path, "default")
        self.trusting = authority.trusting()
        conf = f"vserv conf {{}} iface {LOOPBACK} port {{}} state online proxyprotocol require trusted {{}}"
        self.proxy = Proxy(
            tmp_path,
            [
                f"set tlsdir {tmp_path}",
                backend,
                "pdm add a any b",
                conf.format("v", self.port, "10.0.0.0/8,127.0.0.0/8"),
                conf.format("s", self.tls_port, LOOPBACK) + " prot POP3s",
                conf.format("x", self.stranger, "10.0.0.0/8"),
                conf.format("f", self.forced, LOOPBACK) + " starttls force",
            ],
            workers=1,
        )

    def ends(self, count: int) -> None:
        """All of so many sessions have ended for want of a header."""
        assert self.proxy.wait_for_endings(count) == ["proxy_header"] * count


def online(port: int, words: str = "") -> str:
    return f"backend conf b host {LOOPBACK} port {port} state online {words}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ScriptedBackend(pop3_server([b"Subject: x\r\n\r\nhello\r\n"])) as backend:
        made = Site(tmp_path, online(backend.port))
        with made.proxy:
            yield made


def in_tls(site: Site, client: PopClient) -> None:
    client.connection = site.trusting.wrap_socket(client.connection, server_hostname=NAME)


# Towards us


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("piece", [1, 1000])
def test_the_address_from_the_header(site: Site, version: str, piece: int) -> None:
    """It is what sessions, log and modules see, whole or octet by octet; the log also says who brought it."""
    with PopClient(site.port) as client:
        header = HEADERS[version]
        for start in range(0, len(header), piece):
            client.say(header[start : start + piece])
        assert client.ask("USER ann").startswith(b"+OK")
        (row,) = site.proxy.sessions()
        assert (row["client"], row["port"]) == CLIENT
        assert client.ask("PASS x").startswith(b"+OK")
        client.ask("QUIT")
    site.proxy.wait_for_endings(1)
    fields = site.proxy.log("session_end")[0].fields
    assert (fields["client"], fields["via"], fields["ending"]) == (CLIENT[0], LOOPBACK, "quit")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_header_and_client_hello_in_one_segment(site: Site, version: str) -> None:
    """Not an octet of what follows the header is lost or read in clear."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = site.trusting.wrap_bio(incoming, outgoing, server_hostname=NAME)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with PopClient(site.tls_port) as client:
        client.say(HEADERS[version] + outgoing.read())
        greeting = b""
        while not greeting:
            incoming.write(client.connection.recv(1 << 16))
            try:
                tls.do_handshake()
                client.say(outgoing.read())
                greeting = tls.read(1000)
            except ssl.SSLWantReadError:
                client.say(outgoing.read())
        assert greeting.startswith(b"+OK")
        assert [row["client"] for row in site.proxy.sessions()] == [CLIENT[0]]


def test_header_and_commands_in_one_segment(site: Site) -> None:
    """A client that does not wait for the greeting is served all the same."""
    with PopClient(site.port) as client:
        client.say(HEADERS["v2"] + b"USER ann\r\nPASS x\r\nQUIT\r\n")
        assert client.rest().count(b"+OK") == 4


@pytest.mark.parametrize("header", [build("v1", None, None), build("v2", None, None)])
def test_a_header_that_names_nobody(site: Site, header: bytes) -> None:
    """UNKNOWN and LOCAL, as health checks say them: the client is who has connected."""
    with PopClient(site.port) as client:
        client.say(header)
        client.greeted()
        assert [row["client"] for row in site.proxy.sessions()] == [LOOPBACK]


def test_who_is_not_trusted(site: Site) -> None:
    """He is closed without a word, whatever he says; a header does not make anybody trusted."""
    for header in (*HEADERS.values(), b"", b"USER ann\r\n"):
        with PopClient(site.stranger) as client:
            client.say(header)
            assert client.rest() == b""
    site.ends(4)
    assert {entry.fields["reason"] for entry in site.proxy.log("bad_header")} == {"it is not in trusted"}
    assert site.proxy.log("bad_header")[0].fields["peer"] == LOOPBACK


def test_what_is_no_header(site: Site) -> None:
    """No header, a bad one, one that is too long, one that is cut off: closed without a word; the log says which."""
    said = {
        b"USER ann\r\nPASS x\r\n": "no PROXY header",
        b"\x16\x03\x01\x02\0\x01\0": "no PROXY header",
        b"PROXY TCP4 nonsense\r\n": "a header of version 1 that is none of",
        b"PROXY UNKNOWN" + b" " * 100: "without end in 107 octets",
        HEADERS["v2"][:14] + b"\xff\xff": "65535 octets after its first 16",
    }
    for data, reason in said.items():
        with PopClient(site.port) as client:
            client.say(data)
            assert client.rest() == b""
        assert reason in site.proxy.log("bad_header")[-1].fields["reason"]
    for data in (HEADERS["v1"][:20], HEADERS["v2"][:20]):
        with PopClient(site.port) as client:
            client.say(data)
            client.half_close()
            assert client.rest() == b""
        assert "closed before a whole header" in site.proxy.log("bad_header")[-1].fields["reason"]
    with PopClient(site.tls_port) as client:
        client.say(b"\x16\x03\x01\x02\0\x01\0")
        assert client.rest() == b""
    site.ends(len(said) + 3)


def test_a_header_that_does_not_come(site: Site) -> None:
    """Nothing, or half a header: closed after five seconds, and until then the worker has nothing to do."""
    (worker,) = site.proxy.workers()
    before = processor_seconds(worker)
    with PopClient(site.port) as silent, PopClient(site.port) as slow:
        slow.say(HEADERS["v2"][:20])
        started = time.monotonic()
        assert silent.rest() == slow.rest() == b""
        assert time.monotonic() - started > 4
    site.ends(2)
    assert {entry.fields["reason"] for entry in site.proxy.log("bad_header")} == {"no header within 5 s"}
    assert processor_seconds(worker) - before < 0.5


def processor_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_ten_thousand_headers_of_garbage(site: Site) -> None:
    """Each is refused; the worker is the same, serves on, and has not grown."""
    workers = site.proxy.workers()

    def memory() -> int:
        return int(Path(f"/proc/{workers[0]}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def some(count: int) -> None:
        for number in range(count):
            with socket.create_connection((LOOPBACK, site.port), patient(10)) as connection:
                connection.sendall(b"PROXY " + number.to_bytes(4) * 20)

    some(1000)
    wait_until(lambda: len(site.proxy.endings()) == 1000, "1000 sessions are over")
    before = memory()
    some(9000)
    wait_until(lambda: len(site.proxy.endings()) == 10_000, "all sessions are over", patient(30))
    assert set(site.proxy.endings()) == {"proxy_header"}
    assert memory() - before < 2 << 20
    with PopClient(site.port) as client:
        client.say(HEADERS["v1"])
        assert client.log_in().startswith(b"+OK")
    assert site.proxy.workers() == workers


def test_a_trusted_network_still_needs_tls(site: Site) -> None:
    """`starttls force` holds for clients from a load balancer as for all others."""
    with PopClient(site.forced) as client:
        client.say(HEADERS["v1"])
        assert b"STLS first" in client.ask("USER ann")
        assert client.ask("STLS").startswith(b"+OK")
        in_tls(site, client)
        assert client.log_in().startswith(b"+OK")


@pytest.mark.parametrize("tls", [False, True])
def test_a_health_check_is_no_fault(site: Site, tls: bool) -> None:
    """It connects and closes, or is reset, with a header of its own or none: nothing is said of it but that it was."""
    port = site.tls_port if tls else site.port
    for header in (b"", build("v2", None, None)):
        for leave in (PopClient.close, PopClient.reset, PopClient.half_close):
            with PopClient(port) as client:
                client.say(header)
                if header and not tls:
                    client.line()
                leave(client)
                if leave is PopClient.half_close:
                    assert client.rest() == b""
    endings = site.proxy.wait_for_endings(6)
    assert set(endings) <= {"client_closed", "client_reset"}
    assert [entry.line for entry in site.proxy.log() if entry.level != "INF"] == []
    with PopClient(site.stranger) as client:
        assert client.rest() == b""
    assert site.proxy.wait_for_endings(7)[-1] == "proxy_header"
    assert len(site.proxy.log("bad_header")) == 1


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_a_real_haproxy_in_front(site: Site, tmp_path: Path, send: str) -> None:
    """Plain, and TLS that passes through it: the log has HAProxy's client, and HAProxy as the one who brought it."""
    haproxy = need("haproxy")
    plain, tls = free_port(), free_port()
    ports = {"plain": plain, "tls": tls, "behind": site.port, "behind_tls": site.tls_port}
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(host=LOOPBACK, send=send, **ports))
    command = [haproxy, "-db", "-q", "-f", str(tmp_path / "haproxy.cfg")]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            wait_until(lambda: can_connect(plain), "HAProxy listens")
            for port in (plain, tls):
                with PopClient(port) as client:
                    if port == tls:
                        in_tls(site, client)
                    ours = client.connection.getsockname()[1]
                    assert client.log_in().startswith(b"+OK")
                    assert [row["port"] for row in site.proxy.sessions() if row["user"] == "ann"] == [ours]
                    client.ask("QUIT")
                wait_until(lambda: not site.proxy.sessions(), "the session is over")
        finally:
            running.terminate()
            running.wait(patient(10))
    told = [entry.fields for entry in site.proxy.log("session_end") if entry.fields["ending"] == "quit"]
    assert [(fields["client"], fields["via"]) for fields in told] == [(LOOPBACK, LOOPBACK)] * 2


def can_connect(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), patient(1)).close()
    except OSError:
        return False
    return True


# Towards backends


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("source", [CLIENT, CLIENT6])
def test_dovecot_learns_the_address_by_the_header(tmp_path: Path, version: str, source: tuple[str, int]) -> None:
    """A real Dovecot logs the client of a load balancer in front of us, and where that one accepted it."""
    destination = ("2001:db8::1", 110) if ":" in source[0] else SERVER
    with Dovecot() as dovecot:
        dovecot.add_user("ann", "secret")
        site = Site(tmp_path, online(dovecot.haproxy_port, f"sendproxy {version}"))
        with site.proxy, PopClient(site.port) as client:
            client.say(build("v2" if version == "v1" else "v1", source, destination))
            assert client.log_in().startswith(b"+OK")
            client.ask("QUIT")
        line = login_line(dovecot)
        assert f"rip={source[0]}, lip={destination[0]}" in line


def login_line(dovecot: Dovecot) -> str:
    lines = wait_until(
        lambda: [line for line in dovecot.log().splitlines() if "Login: user=<ann>" in line], "Dovecot logs the login"
    )
    return str(lines[-1])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_header_comes_before_tls(tmp_path: Path, version: str) -> None:
    """sendproxy with STLS inside, and the header of a client that connected to us itself."""
    authority = Authority()
    path = authority.write(tmp_path)
    with Dovecot(authority.issue(NAME)) as dovecot:
        dovecot.add_user("ann", "secret")
        words = f"sendproxy {version} tls starttls tlsname {NAME} tlsca {path} xclient on"
        port = free_port()
        rc = [
            online(dovecot.haproxy_port, words),
            "pdm add a any b",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, rc) as proxy, PopClient(port) as client:
            assert client.log_in().startswith(b"+OK")
            client.ask("QUIT")
            proxy.wait_for_endings(1)
        assert f"rip={LOOPBACK}, lip={LOOPBACK}" in login_line(dovecot)
        assert ", TLS" in login_line(dovecot)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_xpop_with_a_header(tmp_path: Path, version: str) -> None:
    """A backend that does not greet gets the header, then the request, in this order and once."""
    heard: list[bytes] = []
    expected = build(version, CLIENT, SERVER)

    def play(peer: Peer) -> None:
        heard.append(peer.exactly(len(expected)))
        xpop_server([b"x\r\n"])(peer)

    with ScriptedBackend(play) as backend:
        site = Site(tmp_path, online(backend.port, f"prot XPOP sendproxy {version}"))
        with site.proxy, PopClient(site.port) as client:
            client.say(HEADERS["v1"])
            assert client.log_in() == b"+OK 1 messages"
            client.ask("QUIT")
    assert heard == [expected]


@pytest.mark.parametrize("source", [CLIENT, CLIENT6])
def test_dovecot_learns_address_and_session_by_xclient(tmp_path: Path, source: tuple[str, int]) -> None:
    """A real Dovecot logs the client's address and our session id."""
    with Dovecot() as dovecot:
        dovecot.add_user("ann", "secret")
        site = Site(tmp_path, online(dovecot.port, "xclient on"))
        with site.proxy, PopClient(site.port) as client:
            client.say(build("v2", source, ("2001:db8::1", 110) if ":" in source[0] else SERVER))
            assert client.log_in().startswith(b"+OK")
            client.ask("QUIT")
            site.proxy.wait_for_endings(1)
            sid = site.proxy.log("session_end")[0].sid
        assert f"rip={source[0]}," in login_line(dovecot)
        assert f"session=<{sid}>" in login_line(dovecot)


def test_a_dovecot_that_does_not_trust_us(tmp_path: Path) -> None:
    """It would ignore XCLIENT: no login with our own address instead, and the log says what to look at.

    At its second address, because Dovecot trusts whoever has the address that he connects to.
    """
    with Dovecot(trusting=False) as dovecot:
        dovecot.add_user("ann", "secret")
        site = Site(tmp_path, f"backend conf b host 127.0.0.2 port {dovecot.port} state online xclient on")
        with site.proxy, PopClient(site.port) as client:
            client.say(HEADERS["v1"])
            assert client.log_in().startswith(b"-ERR [SYS/TEMP] ")
            reason = site.proxy.log("backend_failed")[0].fields["reason"]
            assert reason.startswith("it takes no XCLIENT (is the proxy in its login_trusted_networks?): +OK ")
        assert "Login: " not in dovecot.log()


# An error of ours

SABOTEUR = """
from popular.pdm.libpdm_any import Any as Everyone
from popular.protocol.watch import CommandWatch


class Saboteur(Everyone):
    def check(self, question):
        if question.user == "saboteur":
            see = CommandWatch.see

            def broken(self, piece):
                if b"BOOM" in piece:
                    raise ZeroDivisionError
                return see(self, piece)

            CommandWatch.see = broken
        return super().check(question)


def open_module(ident, arguments):
    return Saboteur(ident, arguments)
"""


def test_an_error_of_ours_in_the_relay_ends_one_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that damages the relay while mail passes: the session that meets the damage ends, and no other.

    In pure Python, for what is compiled cannot be damaged in this way.
    """
    monkeypatch.setenv("POPULAR_PURE", "1")
    (tmp_path / "libpdm_saboteur.py").write_text(SABOTEUR)
    port = free_port()
    with ScriptedBackend(pop3_server([])) as backend:
        rc = [f"set pdmdir {tmp_path}", online(backend.port), "pdm add a saboteur b"]
        proxy = Proxy(tmp_path, [*rc, f"vserv conf v iface {LOOPBACK} port {port} state online"], workers=1)
        with proxy, PopClient(port) as one, PopClient(port) as other:
            workers = proxy.workers()
            other.log_in()
            one.log_in("saboteur")
            one.say(b"BOOM\r\n")
            assert one.rest() == b""
            assert other.ask("STAT") == b"+OK 0 0"
            other.ask("QUIT")
            assert proxy.wait_for_endings(2) == ["internal_error", "quit"]
            assert proxy.workers() == workers
            (bug,) = proxy.log("session_bug")
            assert bug.fields["error"].startswith("ZeroDivisionError at libpdm_saboteur.py")
            assert json.loads(proxy.said("json sessions").lines[0]) == []
            proxy.logfile.write_text("")  # the line of level BUG was wanted, and only that one
