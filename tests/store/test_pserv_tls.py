"""pserv in TLS (XPOPs), with certificates between the machines: real proxies, and clients that are none."""

import hashlib
import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.store.test_pserv import PLAIN, SHORT_TIMEOUTS, Store
from tests.system.certificates import Authority, Leaf
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until

STORE_NAME = "store1.example.org"
PROXY_NAME = "proxy1.example.org"
SITE, STRANGERS = Authority("The site's authority"), Authority("Somebody else's authority")


class StoreInTls(Store):
    """A running pserv that wants certificates of the site."""

    def __init__(self, directory: Path, python: str = "") -> None:
        directory.mkdir(exist_ok=True)
        super().__init__(directory, workers=2, python=python)
        self.tlsdir = directory / "tls"
        self.tlsdir.mkdir()
        SITE.issue(STORE_NAME).write(self.tlsdir, "default")
        ca = SITE.write(directory)
        self._rc_lines = [
            f"set mailboxdir {self.root}",
            f"set tlsdir {self.tlsdir}",
            f"server conf iface {LOOPBACK} port {self.port} prot XPOPs clientca {ca} state online",
        ]


class ProxyToTls(Proxy):
    """A running pproxy in front of it. `own`: the certificate that it shows."""

    def __init__(self, directory: Path, store: Store, own: Leaf | None, conf: str = "") -> None:
        directory.mkdir()
        tlsdir = directory / "tls"
        tlsdir.mkdir()
        self.port = free_port()
        if own is not None:
            own.write(tlsdir, "proxy1")
            conf += " tlscert proxy1"
        ca = SITE.write(directory)
        where = f"host {LOOPBACK} port {store.port} prot XPOP tls implicit tlsname {STORE_NAME} tlsca {ca}"
        lines = [
            f"set tlsdir {tlsdir}",
            f"backend conf b1 {where} {conf} state online",
            "pdm add all any b1",
            f"vserv conf v iface {LOOPBACK} port {self.port} state online",
        ]
        super().__init__(directory, lines)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreInTls]:
    with StoreInTls(tmp_path / "store") as running:
        yield running


def presenting(directory: Path, leaf: Leaf | None, **attributes: object) -> ssl.SSLContext:
    """The context of a client that shows this certificate."""
    context = SITE.trusting()
    if leaf is not None:
        context.load_cert_chain(leaf.write_in_one(directory, "client"))
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


def asked(store: Store, context: ssl.SSLContext, request: bytes = b"joe\r\n-\r\n\r\nSTAT\r\nQUIT\r\n") -> bytes:
    """What pserv answers in TLS, to its end; raises ssl.SSLError where there is no TLS."""
    plain = socket.create_connection((LOOPBACK, store.port), patient(10))
    with context.wrap_socket(plain, server_hostname=STORE_NAME) as client:
        client.sendall(request)
        said = b""
        while data := client.recv(65536):
            said += data
        return said


def test_mail_from_machine_to_machine(tmp_path: Path, store: StoreInTls) -> None:
    """Each verifies the other; small and large mails come through as they are, and QUIT removes what was deleted."""
    noise = random.Random(7)
    large = b"".join(b"%s\r\n" % noise.randbytes(36).hex().encode() for _ in range(40_000))
    store.put("joe", PLAIN, large)
    own = SITE.issue(PROXY_NAME, client=True)
    with ProxyToTls(tmp_path / "proxy", store, own) as proxy:
        with PopClient(proxy.port) as client:
            assert client.log_in("joe", "any").startswith(b"+OK")
            assert client.ask("STAT") == f"+OK 2 {len(PLAIN) + len(large)}".encode()
            assert client.retrieve(1) == PLAIN
            assert hashlib.sha256(client.retrieve(2)).digest() == hashlib.sha256(large).digest()
            assert client.ask("DELE 1").startswith(b"+OK")
            assert client.ask("QUIT").startswith(b"+OK")
        (row,) = [row for row in proxy.json("tls list") if row["name"] == "proxy1"]
        assert row["backends"] == ["b1"]
    assert list(store.files("joe").values()) == [large]
    store.assert_at_rest()
    counters = store.state().counters()
    assert counters["tls_handshakes"]["TLSv1.3"] == 1
    assert counters["sessions_ended"]["quit"] == 1


def test_many_sessions_at_once(tmp_path: Path, store: StoreInTls) -> None:
    """Pipelined commands after the login arrive once each; sessions of TLS are not resumed without a certificate."""
    store.put("joe", PLAIN)
    own = SITE.issue(PROXY_NAME, client=True)
    with ProxyToTls(tmp_path / "proxy", store, own) as proxy:
        clients = [PopClient(proxy.port) for _ in range(20)]
        for client in clients:
            client.say(b"USER joe\r\nPASS x\r\nSTAT\r\nNOOP\r\nLIST 1\r\nQUIT\r\n")
        for client in clients:
            said = client.rest()
            assert said.count(f"+OK 1 {len(PLAIN)}\r\n".encode()) == 2, said
            client.close()
    store.wait_until_quiet()
    assert store.state().counters()["tls_resumptions"] == 0
    assert store.state().counters()["tls_handshakes"]["TLSv1.3"] == 20


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (None, "it wants a certificate of ours (tlscert): tlsv13 alert certificate required"),
        (STRANGERS.issue(PROXY_NAME, client=True), "it does not accept our certificate: tlsv1 alert unknown ca"),
        (
            SITE.issue(PROXY_NAME, client=True, days=-0.5),
            "it does not accept our certificate: sslv3 alert certificate expired",
        ),
        (SITE.issue(PROXY_NAME), "it does not accept our certificate: sslv3 alert unsupported certificate"),
    ],
    ids=["none", "somebody else's", "expired", "a server's"],
)
def test_a_proxy_without_a_good_certificate(tmp_path: Path, store: StoreInTls, own: Leaf | None, reason: str) -> None:
    """Gets no octet of mail: its users are told to come again, and both logs say whose fault it is."""
    store.put("joe", PLAIN)
    with ProxyToTls(tmp_path / "proxy", store, own) as proxy, PopClient(proxy.port) as client:
        assert client.log_in("joe", "any").startswith(b"-ERR [SYS/TEMP]")
        (failed,) = proxy.log("backend_failed")
        assert failed.fields["reason"] == reason
        assert proxy.state().counters()["backend_failures"]["tls"] == 1
        wait_until(lambda: store.log("tls_failed"), "pserv has told it")
    entry = store.log("tls_failed")[0]
    assert entry.fields["why"] == "certificate", entry
    store.wait_until_quiet()
    assert store.state().counters()["tls_failures"]["certificate"] >= 1
    assert store.state().counters()["opened"] == 0
    assert set(store.endings()) == {"tls_failed"}


def test_a_store_that_is_not_the_one_meant(tmp_path: Path) -> None:
    """The proxy sends nothing, not even the mailbox's name, where the certificate is another's."""
    with StoreInTls(tmp_path / "store") as store:
        STRANGERS.issue(STORE_NAME).write(store.tlsdir, "default")
        store.said("tls reload")
        own = SITE.issue(PROXY_NAME, client=True)
        with ProxyToTls(tmp_path / "proxy", store, own) as proxy, PopClient(proxy.port) as client:
            assert client.log_in("joe", "any").startswith(b"-ERR [SYS/TEMP]")
            (failed,) = proxy.log("backend_failed")
            assert "certificate verify failed" in str(failed.fields)


def test_who_is_not_trusted_gets_no_handshake(tmp_path: Path, store: StoreInTls) -> None:
    """A good certificate from a wrong address is closed before a word of TLS."""
    store.said("server conf trusted 127.0.0.2/32")
    context = presenting(tmp_path, SITE.issue(PROXY_NAME, client=True))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        asked(store, context)
    assert store.state().counters()["untrusted_peers"] == 1
    assert sum(store.state().counters()["tls_handshakes"].values()) == 0


@pytest.mark.parametrize(
    "first", [b"joe\r\n-\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"\0" * 600, b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_tls(store: StoreInTls, first: bytes) -> None:
    """In clear, broken off, or noise: no reply in clear, the session is over, and others are served."""
    store.put("joe", PLAIN)
    with socket.create_connection((LOOPBACK, store.port), patient(10)) as client:
        client.sendall(first)
        client.shutdown(socket.SHUT_WR)
        said = b""
        try:
            while data := client.recv(4096):
                said += data
        except ConnectionError:
            pass
    assert b"+OK" not in said
    assert b"-ERR" not in said
    store.wait_until_quiet()
    assert store.endings() == ["tls_failed"]
    context = presenting(store.root.parent, SITE.issue(PROXY_NAME, client=True))
    assert asked(store, context).startswith(b"+OK 1 message ")


def test_a_handshake_that_does_not_come(tmp_path: Path) -> None:
    """Takes requesttimeout at most, silent or octet by octet; then the session is over and its place free."""
    with StoreInTls(tmp_path / "store") as store:
        store.said("set requesttimeout 1s")
        with (
            socket.create_connection((LOOPBACK, store.port), patient(10)) as silent,
            socket.create_connection((LOOPBACK, store.port), patient(10)) as slow,
        ):
            slow.sendall(b"\x16\x03\x01")
            assert silent.recv(10) == slow.recv(10) == b""
        store.wait_until_quiet()
        assert store.endings() == ["tls_failed"] * 2
        assert store.state().counters()["tls_failures"]["timeout"] == 2


def test_an_idle_session_in_tls_ends(tmp_path: Path) -> None:
    """Deadlines after the handshake are those of every session, and TLS ends with a close_notify."""
    with StoreInTls(tmp_path / "store", python=SHORT_TIMEOUTS) as store:
        store.said("set idletimeout 1s")
        context = presenting(tmp_path, SITE.issue(PROXY_NAME, client=True))
        assert asked(store, context, b"joe\r\n-\r\n\r\n").startswith(b"+OK 0 messages")
        store.wait_until_quiet()
        assert store.endings() == ["idle_timeout"]


def test_tls_1_2_and_many_commands_in_one_record(tmp_path: Path, store: StoreInTls) -> None:
    """What OpenSSL has decrypted already is answered, in order, whatever the socket says."""
    store.put("joe", PLAIN)
    context = presenting(tmp_path, SITE.issue(PROXY_NAME, client=True), maximum_version=ssl.TLSVersion.TLSv1_2)
    many = b"UIDL\r\nLIST\r\nRETR 1\r\nNOOP\r\n" * 150
    said = asked(store, context, b"joe\r\n-\r\n\r\n" + many + b"QUIT\r\n")
    assert said.count(PLAIN.splitlines()[0]) == 150
    assert said.count(b"\r\n.\r\n") == 450
    assert said.endswith(b"+OK bye\r\n")
    store.wait_until_quiet()
    assert store.state().counters()["tls_handshakes"]["TLSv1.2"] == 1


def test_a_long_listing_that_tls_has_decrypted_already(tmp_path: Path, store: StoreInTls) -> None:
    """A command that came in a record whose first part was read before is carried out once, piece by piece."""
    folder = store.root / "joe/new"
    for name in ("new", "cur", "tmp"):
        (store.root / "joe" / name).mkdir(parents=True)
    for number in range(3000):
        (folder / f"{1_700_000_000 + number}.{number}_3").touch()
    context = presenting(tmp_path, SITE.issue(PROXY_NAME, client=True))
    for commands in (b"UIDL\r\nLIST\r\n", b"LIST\r\n" * 3):
        said = asked(
            store, context, b"joe\r\n-\r\n\r\n" + b"NOOP\r\n" * 690 + commands + b"NOOP\r\n" * 700 + b"QUIT\r\n"
        )
        assert said.count(b"\r\n.\r\n") == commands.count(b"\r\n")
        assert said.count(b"\r\n3000 ") == commands.count(b"\r\n")
        assert said.endswith(b"+OK bye\r\n")
    store.wait_until_quiet()
    assert store.endings() == ["quit"] * 2


def test_renewed_certificates_are_taken_up(tmp_path: Path, store: StoreInTls) -> None:
    """On both sides, by `tls check`, which each program says to itself; sessions go on."""
    store.put("joe", PLAIN)
    own = SITE.issue(PROXY_NAME, client=True)
    with ProxyToTls(tmp_path / "proxy", store, own) as proxy, PopClient(proxy.port) as client:
        assert client.log_in("joe", "any").startswith(b"+OK")
        old = {row["name"]: row["serial"] for row in store.json("tls list")}
        SITE.issue(STORE_NAME).write(store.tlsdir, "default")
        store.said("tls check")
        assert {row["name"]: row["serial"] for row in store.json("tls list")} != old
        SITE.issue(PROXY_NAME, client=True).write(tmp_path / "proxy/tls", "proxy1")
        assert "certificate_taken proxy1" in " ".join(proxy.said("tls check").lines)
        with PopClient(proxy.port) as another:
            assert another.log_in("joe", "any").startswith(b"+OK")
        assert client.ask("STAT").startswith(b"+OK 1 ")


def test_what_the_commands_refuse(tmp_path: Path) -> None:
    """XPOPs without a certificate, or without saying whom to believe; a tlscert that is not there."""
    (tmp_path / "empty").mkdir()
    with Store(tmp_path) as store:
        store.said(f"set tlsdir {tmp_path / 'empty'}")
        store.said("server conf state offline")
        assert "clientca" in store.control("server conf prot XPOPs state online").text
        refused = store.control("server conf prot XPOPs clientcert off state online")
        assert not refused.ok
        assert refused.text.startswith("server: TLS needs the certificate default.pem in ")
        assert store.said("server show").lines[0].endswith("state offline")
    (tmp_path / "proxy").mkdir()
    with Proxy(tmp_path / "proxy", [f"set tlsdir {tmp_path / 'empty'}"]) as proxy:
        refused = proxy.control(f"backend conf b1 host {LOOPBACK} prot XPOP tls implicit tlscert mine state online")
        assert not refused.ok
        assert refused.text.startswith("backend b1: TLS needs the certificate mine.pem in ")
        assert proxy.said("backend list").lines == []
