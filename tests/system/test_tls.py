"""TLS as far as the chapter goes: `prot POP3s`, `starttls`, `tlsdir`; nothing typed in clear counts inside TLS."""

import contextlib
import poplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, Proxy, free_port, need
from tests.system.wire import PopClient, ScriptedBackend, pop3_server

OPENSSL = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
    "-keyout default.key -out default.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost"
)
CLEAR_END = b"STLS\r\nUSER joe\r\nPASS secret\r\n"
MAILS = [b"Subject: small\r\n\r\nhello\r\n", b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000]


@pytest.fixture(scope="module")
def tlsdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate of its own authority."""
    openssl = need("openssl")
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, *OPENSSL.split()],
        cwd=place,
        check=True,
        capture_output=True,
        timeout=patient(30),
    )
    return place


@pytest.fixture(scope="module")
def trusting(tlsdir: Path) -> ssl.SSLContext:
    """A client that verifies the certificate and its name."""
    return ssl.create_default_context(cafile=str(tlsdir / "default.pem"))


class Site:
    """A proxy with one virtual server for each way, in front of a scripted backend."""

    def __init__(self, tmp_path: Path, tlsdir: Path, backend: ScriptedBackend) -> None:
        self.implicit, self.optional, self.force, self.off = free_port(), free_port(), free_port(), free_port()
        self.backend = backend
        conf = f"iface {LOOPBACK} state online port"
        self.proxy = Proxy(
            tmp_path,
            [
                f"set tlsdir {tlsdir}",
                f"backend conf b host {LOOPBACK} port {backend.port} state online",
                "pdm add a any b",
                f"vserv conf implicit {conf} {self.implicit} prot POP3s",
                f"vserv conf optional {conf} {self.optional} starttls optional",
                f"vserv conf force {conf} {self.force} starttls force",
                f"vserv conf off {conf} {self.off} starttls off",
            ],
        )


@pytest.fixture
def site(tmp_path: Path, tlsdir: Path) -> Iterator[Site]:
    """The site, running."""
    with ScriptedBackend(pop3_server(MAILS)) as backend:
        made = Site(tmp_path, tlsdir, backend)
        with made.proxy:
            yield made


def _mail_is_read(client: poplib.POP3) -> None:
    client.user("joe")
    client.pass_("secret")
    client.stat()
    assert client.quit().startswith(b"+OK")


def test_tls_from_the_start(site: Site, trusting: ssl.SSLContext) -> None:
    """`prot POP3s`: the greeting comes inside TLS; a session goes through to the backend."""
    client = poplib.POP3_SSL("localhost", site.implicit, context=trusting, timeout=patient(5))
    assert client.getwelcome().startswith(b"+OK")
    assert "STLS" not in client.capa()
    _mail_is_read(client)
    assert site.proxy.wait_for_endings(1) == ["quit"]


@pytest.mark.parametrize("way", ["optional", "force"])
def test_tls_by_stls(site: Site, trusting: ssl.SSLContext, way: str) -> None:
    """`starttls optional` and `force`: STLS is offered before it and not after it; then a session goes through."""
    client = poplib.POP3("localhost", getattr(site, way), timeout=patient(5))
    assert "STLS" in client.capa()
    client.stls(trusting)
    assert "STLS" not in client.capa()
    with pytest.raises(poplib.error_proto, match="TLS is already there"):
        client._shortcmd("STLS")  # type: ignore[attr-defined]
    _mail_is_read(client)


def test_optional_allows_a_login_in_clear(site: Site) -> None:
    """Who does not say STLS is let in all the same."""
    _mail_is_read(poplib.POP3("localhost", site.optional, timeout=patient(5)))


def test_force_refuses_a_login_in_clear(site: Site) -> None:
    """USER before STLS is refused, and CAPA does not offer it."""
    with PopClient(site.force) as client:
        client.greeted()
        assert b"STLS first" in client.ask("USER joe")
        assert b"STLS first" in client.ask("PASS secret")
    client2 = poplib.POP3("localhost", site.force, timeout=patient(5))
    assert "USER" not in client2.capa()
    client2.quit()


def test_off_knows_no_stls(site: Site) -> None:
    """STLS is refused and not offered."""
    client = poplib.POP3("localhost", site.off, timeout=patient(5))
    assert "STLS" not in client.capa()
    with pytest.raises(poplib.error_proto, match="not offered"):
        client._shortcmd("STLS")  # type: ignore[attr-defined]
    client.quit()


def test_what_is_typed_in_clear_behind_stls_ends_the_session(site: Site) -> None:
    """The injection of nostarttls: not a byte after STLS is believed, in one segment or in two."""
    with PopClient(site.optional) as client:
        client.greeted()
        client.say(CLEAR_END)
        assert client.rest() == b""
    assert site.proxy.wait_for_endings(1) == ["plaintext_after_stls"]
    with socket.create_connection((LOOPBACK, site.optional), patient(5)) as raw:
        raw.recv(200)
        raw.sendall(b"STLS\r\n")
        assert raw.recv(200).startswith(b"+OK")
        raw.sendall(b"USER joe\r\n")  # arrives where a ClientHello should
        with contextlib.suppress(ConnectionResetError):
            assert b"+OK" not in raw.recv(200)
    assert site.proxy.wait_for_endings(2)[-1] == "tls_failed"
    assert len(site.proxy.log("tls_failed")) == 1


def test_what_was_said_before_stls_is_forgotten(site: Site, trusting: ssl.SSLContext) -> None:
    """A user name given in clear does not count inside TLS (RFC 2595 section 4)."""
    client = poplib.POP3("localhost", site.optional, timeout=patient(5))
    client.user("mallory")
    client.stls(trusting)
    with pytest.raises(poplib.error_proto, match="say USER first"):
        client.pass_("secret")
    client.quit()


def test_old_tls_is_refused(site: Site) -> None:
    """TLS 1.1 is not spoken."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        poplib.POP3_SSL("localhost", site.implicit, context=old, timeout=patient(5))
    assert site.proxy.wait_for_endings(1) == ["tls_failed"]


def test_a_large_mail_through_tls(site: Site, trusting: ssl.SSLContext) -> None:
    """Many records, more than one buffer: every octet arrives, also when many commands are pipelined."""
    client = poplib.POP3_SSL("localhost", site.implicit, context=trusting, timeout=patient(10))
    client.user("joe")
    client.pass_("secret")
    plain = poplib.POP3("localhost", site.off, timeout=patient(10))
    plain.user("joe")
    plain.pass_("secret")
    count = plain.stat()[0]
    for number in range(1, count + 1):
        assert client.retr(number)[1] == plain.retr(number)[1]
    client.quit()
    plain.quit()


def test_without_a_certificate_nothing_is_changed(tmp_path: Path) -> None:
    """A virtual server that needs TLS cannot go online without a certificate; the reply says which file is missing."""
    with Proxy(tmp_path, [f"set tlsdir {tmp_path}"]) as proxy:
        before = proxy.said("show config").lines
        reply = proxy.control(f"vserv conf v iface {LOOPBACK} port {free_port()} prot POP3s state online")
        assert not reply.ok
        assert "default.pem" in reply.text
        assert proxy.said("show config").lines == before
