"""The handshake of a running proxy: versions, ciphers, ALPN, and clients that do it slowly, wrongly or not at all."""

import contextlib
import os
import random
import socket
import ssl
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import processes
from tests.patience import patient
from tests.system.site import LOOPBACK, PATIENCE, PopClient, need, wait_until
from tests.system.tlssite import TlsClient, TlsSite, client_context, serial

NO_APPLICATION_PROTOCOL = bytes.fromhex("15030300020278")
STRANGERS = 10_000
_TCP_INFO_OCTETS, _DATA_SEGS_IN = 160, 152
"""How much of struct tcp_info (linux/tcp.h) is read, and where tcpi_data_segs_in stands in it."""
TLS_1_2 = {"maximum_version": ssl.TLSVersion.TLSv1_2}
TLS_1_3 = {"minimum_version": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsSite]:
    """A proxy that several tests use, none of which changes it."""
    with TlsSite(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TlsSite]:
    with TlsSite(tmp_path) as site:
        yield site


def client_hello(alpn: list[str] | None = None, name: str = "localhost") -> bytes:
    """What a client says first."""
    context = client_context()
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def last_failure(site: TlsSite, before: int) -> tuple[str, str]:
    """The word and the text of the failure after so many others."""
    wait_until(lambda: len(site.log("tls_failed")) > before, "the failure is in the log")
    (entry,) = site.log("tls_failed")[before:]
    wait_until(lambda: site.log("session_end", entry.sid), "the session is over")
    assert site.log("session_end", entry.sid)[0].fields["ending"] == "tls_failed"
    return entry.fields["why"], entry.fields["reason"]


@pytest.mark.parametrize(("attributes", "version"), [(TLS_1_2, "TLSv1.2"), (TLS_1_3, "TLSv1.3")])
def test_version_and_cipher_are_told(shared: TlsSite, attributes: dict[str, object], version: str) -> None:
    """The log line of a session names them, and each handshake is counted; at the end close_notify comes."""
    shared.wait_until_quiet()
    before, endings = shared.count("tls_handshakes", version), len(shared.endings())
    with TlsClient(shared.port, client_context(**attributes)) as client:
        assert client.socket.version() == version
        cipher = client.socket.cipher()
        assert cipher is not None
        client.quit()
    wait_until(lambda: len(shared.endings()) > endings, "the session is over")
    fields = shared.log("session_end")[-1].fields
    assert (fields["tls"], fields["cipher"]) == (version, cipher[0])
    assert shared.count("tls_handshakes", version) == before + 1
    with PopClient(shared.stls) as plain:
        plain.ask("QUIT")
    wait_until(lambda: shared.log("session_end")[-1].fields["vserv"] == "stls", "the session in clear is over")
    assert (shared.log("session_end")[-1].fields["tls"], shared.log("session_end")[-1].fields["cipher"]) == ("", "")


def segments(client: TlsClient) -> int:
    """Segments with octets in them that have come to the client."""
    info = client.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_OCTETS)
    return int.from_bytes(info[_DATA_SEGS_IN : _DATA_SEGS_IN + 4], sys.byteorder)


@pytest.mark.parametrize("attributes", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
def test_what_belongs_together_travels_together(shared: TlsSite, attributes: dict[str, object]) -> None:
    """Three segments: our handshake; its end, or a ticket, with the greeting; the reply to QUIT with close_notify.

    In one of some sessions: where a worker is kept waiting for 0.2 s the kernel holds nothing back any longer.
    """
    found = set[int]()
    while 3 not in found and len(found) < 9:
        with TlsClient(shared.port, client_context(**attributes)) as client:
            client.quit()
            found |= {segments(client), -len(found)}
    assert 3 in found


@pytest.mark.parametrize(
    ("offered", "chosen"), [(None, None), (["pop3"], "pop3"), (["imap", "pop3"], "pop3"), (["pop3", "h2"], "pop3")]
)
def test_alpn(shared: TlsSite, offered: list[str] | None, chosen: str | None) -> None:
    """pop3 is chosen where it is offered, among others too; a client that offers nothing is served."""
    context = client_context()
    if offered is not None:
        context.set_alpn_protocols(offered)
    with TlsClient(shared.port, context) as client:
        assert client.socket.selected_alpn_protocol() == chosen
        client.quit()


@pytest.mark.parametrize("offered", [["imap"], ["h2", "http/1.1"]])
def test_only_another_protocol(shared: TlsSite, offered: list[str]) -> None:
    """It is refused with the alert of RFC 7301, and the log tells what was offered."""
    before, counted = len(shared.log("tls_failed")), shared.count("tls_failures", "alpn")
    context = client_context()
    context.set_alpn_protocols(offered)
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        TlsClient(shared.port, context)
    assert last_failure(shared, before) == ("alpn", f"the client wants to speak {', '.join(offered)}")
    assert shared.count("tls_failures", "alpn") == counted + 1
    with PopClient(shared.port) as raw:
        raw.say(client_hello(offered))
        assert raw.rest() == NO_APPLICATION_PROTOCOL
    shared.wait_until_quiet()


def old_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = client_context(check_hostname=False)
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = version
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions(shared: TlsSite, version: ssl.TLSVersion) -> None:
    """TLS 1.0 and 1.1 are refused with the right alert, and counted as what they are."""
    before = len(shared.log("tls_failed"))
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        TlsClient(shared.port, old_client(version))
    assert last_failure(shared, before)[0] == "version"


def test_tls_1_3_only(site: TlsSite) -> None:
    """`set tlsminversion 1.3` counts for the next session, and can be taken back; so can a list of ciphers."""
    old = client_context(**TLS_1_2)
    site.said("set tlsminversion 1.3")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
        TlsClient(site.port, old)
    assert last_failure(site, 0)[0] == "version"
    serial(site.port, client_context(**TLS_1_3))
    site.said("set tlsminversion 1.2")
    serial(site.port, old)
    only_aes128 = client_context(**TLS_1_2)
    only_aes128.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    site.said("set tlsciphers ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        TlsClient(site.port, only_aes128)
    with TlsClient(site.port, old) as client:
        cipher = client.socket.cipher()
        assert cipher is not None
        assert cipher[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
        client.quit()


def test_the_cipher_suite_that_processors_help_with(shared: TlsSite) -> None:
    """AES-128 with SHA-256 is taken of all that a client offers, in either version."""
    for versions, suite in ((TLS_1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"), (TLS_1_3, "TLS_AES_128_GCM_SHA256")):
        with TlsClient(shared.port, client_context(**versions)) as client:
            assert (client.socket.cipher() or ("",))[0] == suite
            client.quit()


def test_ciphers_without_forward_secrecy(shared: TlsSite) -> None:
    """By default neither RSA key exchange nor CBC is spoken."""
    for ciphers in ("ECDHE-ECDSA-AES256-SHA384", "AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-SHA"):
        context = client_context(**TLS_1_2)
        context.set_ciphers(ciphers)
        with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
            TlsClient(shared.port, context)


def test_renegotiation_is_refused(shared: TlsSite) -> None:
    """A client that asks for another handshake within TLS 1.2 does not get it; neither does it get compression."""
    openssl = need("openssl")
    command = [openssl, "s_client", "-connect", f"{LOOPBACK}:{shared.port}", "-tls1_2", "-legacy_renegotiation"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        told = b""
        while b"+OK" not in told:
            piece = os.read(client.stdout.fileno(), 4096)
            assert piece, told
            told += piece
        client.stdin.write(b"R\n")
        client.stdin.flush()
        told += client.communicate(timeout=PATIENCE)[0]
    assert b"no renegotiation" in told
    assert b"Compression: NONE" in told


def worker_seconds(site: TlsSite) -> float:
    return processes.cpu_seconds(site.workers())


@pytest.mark.parametrize("way", ["implicit", "stls"])
def test_octet_by_octet(shared: TlsSite, way: str) -> None:
    """A ClientHello that comes one octet at a time is understood, and costs the worker next to nothing meanwhile."""
    with PopClient(shared.port if way == "implicit" else shared.stls) as raw:
        if way == "stls":
            assert raw.ask("STLS").startswith(b"+OK")
        hello = client_hello(["pop3"])
        spent = worker_seconds(shared)
        for octet in hello[:-1]:
            raw.say(bytes([octet]))
            time.sleep(0.001)
        time.sleep(1)
        assert worker_seconds(shared) - spent < 0.2
        assert shared.sessions()[-1]["state"] == "starting TLS"
        raw.say(hello[-1:])
        assert raw.exactly(1) == b"\x16"
    shared.wait_until_quiet()


def test_half_a_clienthello_and_the_end(shared: TlsSite) -> None:
    """A client that stops sending in the middle of it, or goes, ends the session at once."""
    for reset in (False, True):
        before = len(shared.log("tls_failed"))
        with PopClient(shared.port) as raw:
            raw.say(client_hello()[:100])
            wait_until(lambda: shared.sessions(), "the session is there")
            if reset:
                raw.reset()
            else:
                raw.half_close()
                assert raw.rest() == b""
            assert last_failure(shared, before)[0] == "other"


def test_nothing_of_tls(shared: TlsSite) -> None:
    """A client that speaks in clear to a port of TLS is told off in the log, and closed; one that says nothing, as
    health checks do, is no failure.
    """
    before = len(shared.log("tls_failed"))
    with PopClient(shared.port) as raw:
        raw.say(b"USER joe\r\n")
        assert raw.rest() == b""
    assert last_failure(shared, before) == ("other", "no TLS was spoken")
    endings = len(shared.endings())
    with PopClient(shared.port):
        wait_until(lambda: shared.sessions(), "the session is there")
    wait_until(lambda: len(shared.endings()) > endings, "it is over")
    assert shared.endings()[-1] == "client_closed"
    assert len(shared.log("tls_failed")) == before + 1


def test_garbage(shared: TlsSite) -> None:
    """Records that make no sense, whole or cut, at any place of a handshake: an ending each, and the worker lives."""
    chance = random.Random(995)
    hello = client_hello()
    worker = shared.workers()
    endings = len(shared.endings())
    for _ in range(100):
        data = bytearray(hello[: chance.randrange(1, len(hello) + 1)])
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with PopClient(shared.port) as raw:
            raw.say(bytes(data) + chance.randbytes(chance.randrange(40)))
            raw.half_close()
            raw.rest()
    shared.wait_until_quiet()
    wait_until(lambda: len(shared.endings()) == endings + 100, "each has an ending")
    assert set(shared.endings()[endings:]) == {"tls_failed"}
    assert shared.workers() == worker
    assert shared.log("session_bug") == []


def test_a_truncated_record_after_the_handshake(shared: TlsSite) -> None:
    """Half a record, and then the end: the session is over, and what was in it is not believed."""
    endings = len(shared.endings())
    with TlsClient(shared.port) as client:
        with socket.socket(fileno=os.dup(client.socket.fileno())) as raw:
            raw.sendall(b"\x17\x03\x03\x00\x40" + b"x" * 20)
            raw.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            assert client.socket.recv(100) == b""
    wait_until(lambda: len(shared.endings()) > endings, "the session is over")
    assert shared.endings()[-1] in ("client_closed", "client_reset")


def test_a_handshake_that_never_ends(site: TlsSite) -> None:
    """Silence is cut off by authtimeout, if that is shorter than the handshake's own limit."""
    site.said("set authtimeout 1s")
    with PopClient(site.port) as silent, PopClient(site.port) as half:
        half.say(client_hello())
        assert silent.rest() == b""
        half.rest()
    assert site.wait_for_endings(2) == ["auth_timeout", "auth_timeout"]


@pytest.mark.slow
def test_the_limit_of_a_handshake(site: TlsSite) -> None:
    """Without authtimeout a handshake has 30 seconds."""
    site.said("set authtimeout 0")
    with PopClient(site.port, patience=patient(45)) as silent:
        started = time.monotonic()
        assert silent.rest() == b""
        assert time.monotonic() - started > 28
    assert last_failure(site, 0) == ("timeout", "not done within 30 s")
    assert site.count("tls_failures", "timeout") == 1


def test_ten_thousand_names(shared: TlsSite) -> None:
    """Strangers ask for names that nobody has: the worker's memory does not grow with them."""
    chance = random.Random(4)
    hello = client_hello(name="x" * 20 + ".example.org")

    def ask(count: int) -> None:
        for _ in range(count):
            name = "".join(chance.choices(string.ascii_lowercase, k=20)).encode()
            with socket.create_connection((LOOPBACK, shared.port), PATIENCE) as raw:
                raw.sendall(hello.replace(b"x" * 20, name))
                assert raw.recv(1) == b"\x16"

    ask(500)
    shared.wait_until_quiet()
    before = processes.memory_bytes(shared.workers())["anonymous"]
    ask(STRANGERS)
    shared.wait_until_quiet()
    grown = processes.memory_bytes(shared.workers())["anonymous"] - before
    assert grown < 1 << 20, f"{grown} octets"
