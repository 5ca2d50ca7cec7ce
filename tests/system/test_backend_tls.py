"""TLS towards backends: a real Dovecot by STLS and in TLS from the start, right and wrong certificates, foes."""

import contextlib
import hashlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.certificates import RSA, Authority, Leaf
from tests.system.dovecot import Dovecot
from tests.system.site import LOOPBACK, Peer, Play, PopClient, Proxy, ScriptedBackend, free_port, need
from tests.system.wire import commands, pop3_server, wait_until, xpop_server

NAME = "store1.example.org"
MAILS = [b"Subject: one\r\n\r\nhello\r\n", b"Subject: two\r\n\r\n" + b"0123456789abcdef\r\n" * 10_000]
LARGE = b"Subject: large\r\n\r\n" + os.urandom(24 << 20).hex(b"\n", 37).encode().replace(b"\n", b"\r\n")
TRY_LATER = b"-ERR [SYS/TEMP] "


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def leaf(authority: Authority) -> Leaf:
    return authority.issue(NAME, "*.pool.example.org")


@pytest.fixture(scope="module")
def ca(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority.write(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def dovecot(leaf: Leaf) -> Iterator[Dovecot]:
    """A Dovecot with a good certificate, and with an old one and a self-signed one in front of nothing."""
    with Dovecot(leaf) as running:
        running.add_user("ann", "secret", [mail.replace(b"\r\n", b"\n") for mail in MAILS])
        yield running


class Site:
    """A proxy in front of one backend that is configured anew for each test; and the client's port."""

    def __init__(self, tmp_path: Path) -> None:
        self.port, self.tls_port = free_port(), free_port()
        Authority("for clients").issue("localhost").write(tmp_path, "default")
        conf = f"vserv conf {{}} iface {LOOPBACK} state online port {{}}"
        rc = [f"set tlsdir {tmp_path}", "pdm add a any b", conf.format("v", self.port)]
        self.proxy = Proxy(tmp_path, [*rc, conf.format("s", self.tls_port) + " prot POP3s"], workers=1)

    def backend(self, port: int, words: str) -> None:
        """Makes the backend `b` anew."""
        self.proxy.control("backend del b")
        self.proxy.said(f"backend conf b host {LOOPBACK} port {port} state online pipelining off {words}")

    def log_in(self) -> bytes:
        """A login of ann's; the reply to PASS."""
        with PopClient(self.port) as client:
            reply = client.log_in()
            if reply.startswith(b"+OK"):
                client.ask("QUIT")
            return reply

    def reason(self) -> str:
        """Why the backend failed in the login before; the client heard nothing of it."""
        return self.proxy.log("backend_failed")[-1].fields["reason"]

    def failures(self, word: str) -> int:
        """How often the backend failed in this way."""
        counted = self.proxy.state().counters()["backend_failures"]
        assert isinstance(counted, dict)
        return counted[word]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    with made.proxy:
        yield made


# A real Dovecot


@pytest.mark.parametrize("way", ["starttls", "implicit"])
def test_a_session_with_dovecot_in_tls(site: Site, dovecot: Dovecot, ca: Path, leaf: Leaf, way: str) -> None:
    """Verified and pinned; every mail is the same; Dovecot says that the login came in TLS."""
    port = dovecot.port if way == "starttls" else dovecot.tls_port
    site.backend(port, f"tls {way} tlsname {NAME} tlsca {ca} pin {leaf.fingerprint}")
    site.proxy.said("debug =TLS")
    with PopClient(site.port) as client:
        assert client.log_in().startswith(b"+OK")
        (handshake,) = site.proxy.log("tls_backend_handshake")
        assert handshake.fields["version"] == "TLSv1.3"
        assert [client.retrieve(number) for number in (1, 2)] == MAILS
        assert client.ask("QUIT").startswith(b"+OK")
    assert site.proxy.wait_for_endings(1) == ["quit"]
    login = [line for line in dovecot.log().splitlines() if "Login: user=<ann>" in line][-1]
    assert ", TLS" in login


@pytest.mark.parametrize("way", ["starttls", "implicit"])
def test_a_wrong_certificate(site: Site, dovecot: Dovecot, ca: Path, leaf: Leaf, way: str, tmp_path: Path) -> None:
    """Wrong authority, name or fingerprint: -ERR [SYS/TEMP] for the client, the reason in the log, no login sent."""
    port = dovecot.port if way == "starttls" else dovecot.tls_port
    other = Authority("other").write(tmp_path, "other.pem")
    logins = dovecot.log().count("Login: ")
    for words, reason in (
        (f"tlsname {NAME}", "certificate verify failed: unable to get local issuer certificate"),
        (f"tlsname {NAME} tlsca {other}", "certificate verify failed: unable to get local issuer certificate"),
        (f"tlsname store2.example.org tlsca {ca}", "name mismatch: its certificate is not for store2.example.org"),
        (f"tlsca {ca}", f"name mismatch: its certificate is not for {LOOPBACK}"),
        (
            f"verify off pin {'0' * 64}",
            f"fingerprint of its certificate is {leaf.fingerprint}, expected {'0' * 64}",
        ),
        (f"tlsname {NAME} tlsca {ca} pin {'0' * 64}", f"certificate is {leaf.fingerprint}, expected"),
    ):
        site.backend(port, f"tls {way} {words}")
        assert site.log_in().startswith(TRY_LATER), words
        assert reason in site.reason()
    assert site.failures("tls") == 6
    for words in (
        f"tlsname x7.pool.example.org tlsca {ca}",
        "verify off",
        f"verify off pin {leaf.fingerprint.upper()}",
    ):
        site.backend(port, f"tls {way} {words}")
        assert site.log_in().startswith(b"+OK"), words
    assert dovecot.log().count("Login: ") == logins + 3


def test_an_old_certificate(site: Site, authority: Authority, ca: Path) -> None:
    """Expired, with a real Dovecot: refused with that reason, unless nobody is to verify it."""
    with Dovecot(authority.issue(NAME, begins=-5, days=-1, key=RSA)) as old:
        old.add_user("ann", "secret")
        site.backend(old.tls_port, f"tls implicit tlsname {NAME} tlsca {ca}")
        assert site.log_in().startswith(TRY_LATER)
        assert site.reason() == "certificate verify failed: certificate has expired"
        site.backend(old.tls_port, "tls implicit verify off")
        assert site.log_in().startswith(b"+OK")


def test_dovecot_without_tls(site: Site) -> None:
    """No STLS: the login is not sent in clear instead. Nor to a port that speaks no TLS at all."""
    with Dovecot() as plain:
        plain.add_user("ann", "secret")
        site.backend(plain.port, "tls starttls verify off")
        assert site.log_in().startswith(TRY_LATER)
        assert site.reason().startswith("it offers no STLS: -ERR ")
        site.backend(plain.port, "tls implicit verify off")
        assert site.log_in().startswith(TRY_LATER)
        assert site.reason() == "what it sends is no TLS"
        assert "Login: " not in plain.log()


# Scripted backends


def listen(peer: Peer) -> None:
    """Says nothing, whatever comes."""
    peer.connection.settimeout(patient(60))
    peer.rest()


def server_context(leaf: Leaf, tmp_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.write_in_one(tmp_path, "backend"))
    return context


def in_tls(context: ssl.SSLContext, play: Play, goodbye: bool = True) -> Play:
    """A play in TLS from the start; at its end close_notify, or not."""

    def played(peer: Peer) -> None:
        with contextlib.suppress(ssl.SSLError):
            secure = context.wrap_socket(peer.connection, server_side=True)
            peer.connection = secure
            play(peer)
            if goodbye:
                secure.settimeout(patient(1))
                with contextlib.suppress(OSError, ValueError):
                    secure.unwrap().close()

    return played


def by_stls(context: ssl.SSLContext, play: Play) -> Play:
    """A play after STLS; it greets once more inside, where the proxy wants no greeting: so the play must not."""

    def played(peer: Peer) -> None:
        peer.say(b"+OK in clear\r\n")
        assert peer.line() == b"STLS"
        peer.say(b"+OK begin\r\n")
        in_tls(context, play)(peer)

    return played


def transaction(peer: Peer) -> None:
    """Says +OK to everything until QUIT, or until the proxy has gone."""
    for line in commands(peer):
        peer.say(b"+OK " + line.partition(b" ")[0] + b"\r\n")
        if line == b"QUIT":
            return


@pytest.mark.parametrize("segments", [1, 2])
def test_who_talks_behind_his_ok_to_stls(site: Site, segments: int) -> None:
    """Octets in clear after +OK could have been injected: the attempt ends, in one segment or in two."""
    heard: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.say(b"+OK hello\r\n")
        assert peer.line() == b"STLS"
        if segments == 1:
            peer.say(b"+OK begin\r\n+OK injected\r\n")
        else:
            peer.say(b"+OK begin\r\n")
            time.sleep(0.2)
            peer.say(b"+OK injected\r\n+OK injected\r\n")
        heard.append(peer.rest())

    with ScriptedBackend(play) as backend:
        site.backend(backend.port, "tls starttls verify off")
        assert site.log_in().startswith(TRY_LATER)
        site.proxy.wait_for_endings(1)
    assert site.reason() == ("more than one reply while starting TLS" if segments == 1 else "what it sends is no TLS")
    assert b"USER" not in heard[0]
    assert b"secret" not in heard[0]


@pytest.mark.parametrize("way", ["starttls", "implicit"])
def test_garbage_and_a_handshake_that_is_broken_off(site: Site, way: str) -> None:
    """Whatever comes instead of a ServerHello is the backend's fault, and nothing but this session hears of it."""
    for garbage in (
        b"\0" * 100,
        b"+OK hello\r\n" * 20,
        b"\x16\x03\x03\xff\xff" + b"x" * 4000,
        b"\x15\x03\x03\0\x02\x02\x28",
        b"",
    ):

        def play(peer: Peer, garbage: bytes = garbage) -> None:
            if way == "starttls":
                peer.say(b"+OK hello\r\n")
                assert peer.line() == b"STLS"
                peer.say(b"+OK\r\n")
            peer.exactly(100)
            peer.say(garbage)

        with ScriptedBackend(play) as backend:
            site.backend(backend.port, f"tls {way} verify off")
            assert site.log_in().startswith(TRY_LATER)
    reasons = [entry.fields["reason"] for entry in site.proxy.log("backend_failed")]
    assert len(reasons) == 5
    assert all(reason and "Error" not in reason for reason in reasons), reasons


def test_a_handshake_that_never_ends(site: Site) -> None:
    """It is given up within the time for a login, and the client hears [SYS/TEMP] then."""
    with ScriptedBackend(listen) as backend:
        site.backend(backend.port, "tls implicit verify off connecttimeout 1s logintimeout 4s")
        started = time.monotonic()
        with PopClient(site.port) as client:
            assert client.log_in().startswith(TRY_LATER)
        assert time.monotonic() - started >= 4
        assert site.reason() == "no TLS handshake in time"
        assert site.failures("timeout") == 1


@pytest.mark.parametrize("goodbye", [True, False])
def test_how_a_backend_ends_tls(site: Site, leaf: Leaf, ca: Path, tmp_path: Path, goodbye: bool) -> None:
    """With close_notify and without: what it said before arrives, then the client's connection ends too."""

    def play(peer: Peer) -> None:
        peer.say(b"+OK hello\r\n")
        for _ in "USER", "PASS", "STAT":
            peer.line()
            peer.say(b"+OK\r\n")

    with ScriptedBackend(in_tls(server_context(leaf, tmp_path), play, goodbye)) as backend:
        site.backend(backend.port, f"tls implicit tlsname {NAME} tlsca {ca}")
        with PopClient(site.port) as client:
            client.log_in()
            assert client.ask("STAT") == b"+OK"
            assert client.rest() == b""
    assert site.proxy.wait_for_endings(1) == ["backend_closed"]


def test_the_proxy_says_goodbye(site: Site, leaf: Leaf, ca: Path, tmp_path: Path) -> None:
    """A client that vanishes: the backend sees close_notify, not a stream that was cut, and no QUIT."""
    ends: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.say(b"+OK hello\r\n")
        for _ in "USER", "PASS":
            peer.line()
            peer.say(b"+OK\r\n")
        connection = peer.connection
        assert isinstance(connection, ssl.SSLSocket)
        connection.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        ends.append(connection.recv(100))

    with ScriptedBackend(in_tls(server_context(leaf, tmp_path), play)) as backend:
        site.backend(backend.port, f"tls implicit tlsname {NAME} tlsca {ca}")
        with PopClient(site.port) as client:
            client.log_in()
            client.reset()
        assert site.proxy.wait_for_endings(1) == ["client_reset"]
    assert ends == [b""]


def test_what_the_backend_is_offered(site: Site, leaf: Leaf, ca: Path, tmp_path: Path) -> None:
    """SNI is tlsname, or nothing for an address; ALPN is pop3; TLS 1.1 is not spoken."""
    context = server_context(leaf, tmp_path)
    context.set_alpn_protocols(["imap", "pop3"])
    seen: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    chosen: list[str | None] = []

    def play(peer: Peer) -> None:
        assert isinstance(peer.connection, ssl.SSLSocket)
        chosen.append(peer.connection.selected_alpn_protocol())
        transaction(peer)

    with ScriptedBackend(by_stls(context, play)) as backend:
        for words in (f"tlsname {NAME} tlsca {ca}", "verify off", "verify off tlsname other.example.org"):
            site.backend(backend.port, f"tls starttls {words}")
            assert site.log_in().startswith(b"+OK")
    assert seen == [NAME, None, "other.example.org"]
    assert chosen == ["pop3"] * 3


def test_an_address_in_the_certificate(site: Site, tmp_path: Path) -> None:
    """A host that was typed as an address: the certificate has to hold that address."""
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout k -out c -subj /CN=x "
        f"-addext subjectAltName=IP:{LOOPBACK}"
    )
    subprocess.run(
        [need("openssl"), *words.split()], cwd=tmp_path, check=True, capture_output=True, timeout=patient(30)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    with ScriptedBackend(by_stls(context, transaction)) as backend:
        site.backend(backend.port, f"tls starttls tlsca {tmp_path}/c")
        assert site.log_in().startswith(b"+OK")
        site.backend(backend.port, "tls starttls")
        assert site.log_in().startswith(TRY_LATER)
        assert site.reason() == "certificate verify failed: self-signed certificate"


def test_openssl_prints_the_pin(site: Site, leaf: Leaf, tmp_path: Path) -> None:
    """What `openssl x509 -fingerprint -sha256` prints can be said as it is."""
    path = leaf.write_in_one(tmp_path, "leaf")
    command = [need("openssl"), "x509", "-noout", "-fingerprint", "-sha256", "-in", str(path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=patient(30)).stdout.strip()
    with ScriptedBackend(by_stls(server_context(leaf, tmp_path), transaction)) as backend:
        site.backend(backend.port, f'tls starttls verify off pin "{printed}"')
        assert site.log_in().startswith(b"+OK")


def test_xpop_in_tls(site: Site, leaf: Leaf, ca: Path, tmp_path: Path) -> None:
    """A storage server in TLS from the start: the request waits for the handshake."""
    with ScriptedBackend(in_tls(server_context(leaf, tmp_path), xpop_server(MAILS))) as backend:
        site.backend(backend.port, f"prot XPOP tls implicit tlsname {NAME} tlsca {ca}")
        with PopClient(site.port) as client:
            assert client.log_in() == b"+OK 2 messages"
            assert client.retrieve(2) == MAILS[1]
            client.ask("QUIT")


def test_a_file_of_authorities_is_read_when_it_is_said(
    site: Site, leaf: Leaf, authority: Authority, tmp_path: Path
) -> None:
    """A worker that is born after the file broke still believes what the command read; nonsense in it is refused."""
    path = authority.write(tmp_path, "believed.pem")
    with ScriptedBackend(by_stls(server_context(leaf, tmp_path), transaction)) as backend:
        site.backend(backend.port, f"tls starttls tlsname {NAME} tlsca {path}")
        path.write_text("broken")
        (before,) = site.proxy.workers()
        os.kill(before, 9)
        wait_until(lambda: site.proxy.workers() not in ([], [before]), "a successor")
        assert site.log_in().startswith(b"+OK")
        refusal = site.proxy.control(f"backend conf b tlsca {path}")
        assert not refusal.ok
        assert "holds no certificate" in refusal.text
        path.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        refusal = site.proxy.control(f"backend conf b tlsca {path}")
        assert not refusal.ok
        assert "tlsca: " in refusal.text
        assert site.log_in().startswith(b"+OK")


def test_tls_reload_reads_the_authorities_anew(site: Site, leaf: Leaf, authority: Authority, tmp_path: Path) -> None:
    """What is in the file now counts for new sessions; a broken file changes nothing."""
    path = Authority("not yet").write(tmp_path, "believed.pem")
    with ScriptedBackend(by_stls(server_context(leaf, tmp_path), transaction)) as backend:
        site.backend(backend.port, f"tls starttls tlsname {NAME} tlsca {path}")
        assert site.log_in().startswith(TRY_LATER)
        authority.write(tmp_path, "believed.pem")
        assert site.log_in().startswith(TRY_LATER)
        site.proxy.said("tls reload")
        assert site.log_in().startswith(b"+OK")
        path.write_text("broken")
        assert "b: tlsca stays as it was" in site.proxy.said("tls reload").text
        assert site.log_in().startswith(b"+OK")


def test_renewed_authorities_are_taken_up_by_themselves(
    site: Site, leaf: Leaf, authority: Authority, tmp_path: Path
) -> None:
    """With tlswatch, as certificates are; a broken file changes nothing, and is told once."""
    path = Authority("not yet").write(tmp_path, "believed.pem")
    with ScriptedBackend(by_stls(server_context(leaf, tmp_path), transaction)) as backend:
        site.backend(backend.port, f"tls starttls tlsname {NAME} tlsca {path}")
        site.proxy.said("set tlswatch 1s")
        assert site.log_in().startswith(TRY_LATER)
        authority.write(tmp_path, "believed.pem")
        wait_until(lambda: site.proxy.log("authorities_taken"), "the new authority is known")
        assert site.log_in().startswith(b"+OK")
        path.write_text("broken")
        wait_until(lambda: site.proxy.log("routine_failed"), "the fault is told")
        time.sleep(2.5)  # two more looks, or three
        (told,) = site.proxy.log("routine_failed")
        assert "b: tlsca stays as it was" in told.fields["reason"]
        assert len(site.proxy.log("authorities_taken")) == 1
        assert site.log_in().startswith(b"+OK")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(site: Site, leaf: Leaf, ca: Path, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """From the second connection on, also over a change of something else; never under other demands."""
    context = server_context(leaf, tmp_path)
    context.maximum_version = version
    resumed: list[bool | None] = []

    def play(peer: Peer) -> None:
        assert isinstance(peer.connection, ssl.SSLSocket)
        resumed.append(peer.connection.session_reused)
        transaction(peer)

    with ScriptedBackend(by_stls(context, play)) as backend:
        site.backend(backend.port, f"tls starttls tlsname {NAME} tlsca {ca}")
        for command in (
            "",
            "",
            "set softfail on",
            f"backend conf b pin {leaf.fingerprint}",
            "",
            "backend conf b verify off",
        ):
            if command:
                site.proxy.said(command)
            assert site.log_in().startswith(b"+OK")
        assert resumed == [False, True, True, False, True, False]
        site.proxy.said("set softfail off")
        site.proxy.said(f"backend conf b verify on tlsname other.example.org pin {leaf.fingerprint}")
        assert site.log_in().startswith(TRY_LATER)
        site.proxy.said(f"backend conf b tlsname {NAME} pin {'0' * 64}")
        assert site.log_in().startswith(TRY_LATER)
        assert "fingerprint" in site.reason()


# The relay


@pytest.mark.parametrize(("front", "back"), [(False, True), (True, False), (True, True)])
def test_fifty_megabytes(site: Site, leaf: Leaf, ca: Path, tmp_path: Path, front: bool, back: bool) -> None:
    """A large mail through TLS on one leg or both is the same octet for octet, and the worker stays small with a
    client that reads slowly at first.
    """
    play = pop3_server([LARGE])
    with ScriptedBackend(in_tls(server_context(leaf, tmp_path), play) if back else play) as backend:
        site.backend(backend.port, f"tls implicit tlsname {NAME} tlsca {ca}" if back else "")
        with client_of(site, front) as client:
            client.log_in()
            (worker,) = site.proxy.workers()
            before = resident(worker)
            client.say(b"RETR 1\r\n")
            time.sleep(1)  # meanwhile the backend sends as much as anybody takes
            assert resident(worker) - before < 4 << 20
            assert client.line() == b"+OK"
            assert digest(client, len(LARGE)) == hashlib.sha256(LARGE).digest()
            assert client.line() == b"."
            assert resident(worker) - before < 4 << 20
            client.say(b"QUIT\r\n")
            assert client.line().startswith(b"+OK")
    assert site.proxy.wait_for_endings(1) == ["quit"]


def client_of(site: Site, tls: bool) -> PopClient:
    client = PopClient(site.tls_port if tls else site.port, patience=patient(30))
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client.connection = context.wrap_socket(client.connection)
    return client


def digest(client: Peer, octets: int) -> bytes:
    """The digest of the next octets."""
    hashed = hashlib.sha256()
    while octets:
        piece = client.exactly(min(octets, 1 << 16))
        hashed.update(piece)
        octets -= len(piece)
    return hashed.digest()


def resident(pid: int) -> int:
    """Octets of memory that a process has for itself."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("front", [False, True])
def test_a_client_that_only_listens_on(site: Site, leaf: Leaf, ca: Path, tmp_path: Path, front: bool) -> None:
    """Commands in one piece, then the end of its stream: every answer of a backend in TLS still arrives."""
    mail = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 100_000
    with ScriptedBackend(in_tls(server_context(leaf, tmp_path), pop3_server([mail]))) as backend:
        site.backend(backend.port, f"tls implicit tlsname {NAME} tlsca {ca}")
        with client_of(site, front) as client:
            client.log_in()
            client.say(b"RETR 1\r\nRETR 1\r\nQUIT\r\n")
            socket.socket.shutdown(client.connection, socket.SHUT_WR)  # in TLS too: without close_notify
            said = client.rest()
    assert said == (b"+OK\r\n" + mail + b".\r\n") * 2 + b"+OK bye\r\n"
    assert site.proxy.wait_for_endings(1) == ["quit"]


def test_a_client_that_vanishes_quietly(site: Site, leaf: Leaf, ca: Path, tmp_path: Path) -> None:
    """The end of its stream, without QUIT: what the backend still says arrives, late as it is; when it has been quiet
    for a while, that is the end, by close_notify.
    """
    ends: list[bytes] = []

    def play(peer: Peer) -> None:
        peer.say(b"+OK hello\r\n")
        for _ in "USER", "PASS":
            peer.line()
            peer.say(b"+OK\r\n")
        assert peer.line() == b"STAT"
        for _ in range(3):
            peer.say(b"+OK slowly\r\n")
            time.sleep(1)
        connection = peer.connection
        assert isinstance(connection, ssl.SSLSocket)
        connection.suppress_ragged_eofs = False  # type: ignore[attr-defined]
        ends.append(connection.recv(100))

    with ScriptedBackend(in_tls(server_context(leaf, tmp_path), play)) as backend:
        site.backend(backend.port, f"tls implicit tlsname {NAME} tlsca {ca}")
        with PopClient(site.port) as client:
            client.log_in()
            client.say(b"STAT\r\n")
            client.half_close()
            assert client.rest() == b"+OK slowly\r\n" * 3
    assert ends == [b""]
    assert site.proxy.wait_for_endings(1) == ["client_closed"]
