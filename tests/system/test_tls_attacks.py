"""Whoever attacks the TLS of a virtual server harms nobody else: not the session beside it in the same worker, which is
answered promptly all the time, not memory, descriptors, or the number of sessions, and not the log.

There is one worker, so that everybody meets. A bystander has logged in before the attack, and says NOOP all along.
"""

import contextlib
import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.bench.processes import memory_bytes
from tests.patience import MARGIN, patient, within
from tests.system.certificates import Authority
from tests.system.site import (
    LOOPBACK,
    PATIENCE,
    Conversation,
    Peer,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    need,
    pop3_server,
    wait_until,
)

NAME = "localhost"
MIB = 1 << 20
GROWTH_MIB = 6
WAVES_MIB = (32, 16)
"""How much more memory the first 500 handshakes may take, and the next 500, for which the allocator has kept it but
for the gaps. They take 24 MiB while they are under way.
"""
SLOWEST_SECONDS = patient(MARGIN * 0.15)
"""How long the bystander may wait for an answer, on a machine that is busy with other tests."""
MAILS = [b"Subject: small\r\n\r\nhello\r\n", b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 600_000]
BROKEN_OFF = {"tls_failed", "client_closed", "client_reset"}
WAYS = ["POP3S", "STLS"]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
RECORD = b"\x16\x03\x03"
ALERT = b"\x15\x03\x03\x00\x02"


class Site:
    """A proxy of one worker with one virtual server for each way into TLS."""

    def __init__(self, proxy: Proxy, ports: dict[str, int], authority: Authority) -> None:
        self.proxy = proxy
        self.ports = ports
        self.authority = authority
        self.trusting = authority.trusting()

    def connect(self, way: str = "POP3S") -> Peer:
        """A connection in which the next octet is the ClientHello's."""
        client = PopClient(self.ports[way])
        if way == "STLS":
            assert client.ask("STLS").startswith(b"+OK")
        return client

    def secure(self, way: str = "POP3S", context: ssl.SSLContext | None = None) -> Conversation:
        """A client in TLS, not logged in."""
        connection = self.connect(way).connection
        wrapped = (context or self.trusting).wrap_socket(connection, server_hostname=NAME)
        return Conversation(wrapped, greeting=b"" if way == "POP3S" else b"came before STLS")

    def logged_in(self, way: str = "POP3S") -> Conversation:
        """A client in TLS, connected with the backend."""
        client = self.secure(way)
        assert client.log_in().startswith(b"+OK")
        return client

    def wait_for_the_bystander(self) -> None:
        """Waits until all sessions but one are over."""
        wait_until(lambda: len(self.proxy.sessions()) == 1, "only the bystander is left")

    def worker(self) -> int:
        (pid,) = self.proxy.workers()
        return pid


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """`make_site(*rc_lines, most=…)`: `most` is maxsession."""
    with contextlib.ExitStack() as stack:

        def make(*rc_lines: str, most: int = 600) -> Site:
            authority, tlsdir = Authority(), tmp_path / "tls"
            tlsdir.mkdir()
            authority.issue(NAME).write(tlsdir, "default")
            authority.write(tmp_path)
            ports = {way: free_port() for way in WAYS}
            backend = stack.enter_context(ScriptedBackend(pop3_server(MAILS)))
            rc = [
                f"set tlsdir {tlsdir}",
                f"backend conf b1 host {LOOPBACK} port {backend.port} state online",
                "pdm add all any b1",
                *rc_lines,
                f"vserv conf v1 iface {LOOPBACK} port {ports['POP3S']} prot POP3s state online",
                f"vserv conf v2 iface {LOOPBACK} port {ports['STLS']} starttls force state online",
            ]
            proxy = stack.enter_context(Proxy(tmp_path, rc, workers=1, options=("-n", str(most))))
            return Site(proxy, ports, authority)

        yield make


class Vital(NamedTuple):
    """What tells whether a worker is well: it is the one it was, and keeps nothing."""

    pid: int
    descriptors: int
    octets: int


def _vital(site: Site) -> Vital:
    pid = site.worker()
    return Vital(pid, len(list(Path(f"/proc/{pid}/fd").iterdir())), memory_bytes([pid])["anonymous"])


class Bystander(threading.Thread):
    """A client in TLS that says NOOP again and again; `slowest` is how long it waited for an answer, in seconds."""

    def __init__(self, client: Conversation) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._over = threading.Event()
        self.slowest = 0.0
        self.wrong: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._over.wait(0.02):
                self.ask("NOOP")
        except (AssertionError, OSError) as error:
            self.wrong = error

    def ask(self, command: str) -> None:
        begun = time.monotonic()
        assert self._client.ask(command).startswith(b"+OK")
        self.slowest = max(self.slowest, time.monotonic() - begun)

    def leave(self) -> None:
        """Says that it was not disturbed."""
        self._over.set()
        self.join(2 * PATIENCE)
        with self._client:
            assert self.wrong is None
            self.ask("NOOP")
            self.ask("QUIT")
        assert self.slowest < SLOWEST_SECONDS


@contextlib.contextmanager
def unharmed(site: Site, allowed: set[str] = BROKEN_OFF, growth_mib: float = GROWTH_MIB) -> Iterator[None]:
    """What is done inside does no harm, and its sessions end with one of `allowed`."""
    for way in WAYS:
        with site.logged_in(way) as warm:
            warm.ask("QUIT")
    site.proxy.wait_until_quiet()
    before, known = _vital(site), len(site.proxy.endings())
    bystander = Bystander(site.logged_in())
    bystander.start()
    try:
        yield
    finally:
        bystander.leave()
    with site.logged_in("STLS") as newcomer:
        assert newcomer.retrieve(1) == MAILS[0]
        newcomer.ask("QUIT")
    site.proxy.wait_until_quiet()
    wait_until(lambda: _vital(site).descriptors <= before.descriptors, "all descriptors are closed")
    after = _vital(site)
    assert after.pid == before.pid, "the worker has died"
    assert (after.octets - before.octets) / MIB < growth_mib
    endings = site.proxy.endings()[known:]
    assert endings.count("quit") >= 2
    assert set(endings) <= allowed | {"quit"}
    assert [entry.line for entry in site.proxy.log() if entry.level == "BUG"] == []


class Client:
    """A client's side of a handshake, flight by flight, with nobody at the other end but who is given its octets."""

    def __init__(self, trusting: ssl.SSLContext, version: ssl.TLSVersion | None = None) -> None:
        context = trusting
        if version is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.minimum_version = context.maximum_version = version
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=NAME)
        self.hello = self._flight()

    def _flight(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._out.read()

    def second_flight(self, peer: Peer) -> bytes:
        """Hears the server until there is something to say."""
        flight = b""
        while not flight:
            piece = peer.connection.recv(1 << 16)
            assert piece, "the server closed in the handshake"
            self._in.write(piece)
            flight = self._flight()
        return flight


def _vanish(peer: Peer, turn: int) -> None:
    """Closes, or resets every other time."""
    if turn % 2:
        peer.reset()
    else:
        peer.close()


# Handshakes that are broken off


@pytest.mark.parametrize("way", WAYS)
def test_the_client_leaves_at_every_octet_of_its_hello(make_site: MakeSite, way: str) -> None:
    """FIN or RST after each octet of a ClientHello."""
    site = make_site()
    hello = Client(site.trusting).hello
    with unharmed(site):
        for turn in range(len(hello) + 1):
            peer = site.connect(way)
            peer.say(hello[:turn])
            _vanish(peer, turn)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_client_leaves_at_every_octet_of_its_second_flight(make_site: MakeSite, version: ssl.TLSVersion) -> None:
    """FIN or RST after each octet of the key exchange and Finished, when the server has said its part."""
    site = make_site()
    whole = 1
    with unharmed(site):
        turn = 0
        while turn < whole:
            client = Client(site.trusting, version)
            peer = site.connect("POP3S" if turn % 3 else "STLS")
            peer.say(client.hello)
            flight = client.second_flight(peer)
            whole = len(flight)
            peer.say(flight[:turn])
            _vanish(peer, turn)
            turn += 1
    assert whole > 50


def test_a_thousand_hellos_and_nothing_else(make_site: MakeSite) -> None:
    """The server answers each with its certificate, and nobody is there any more."""
    site = make_site()
    hello = Client(site.trusting).hello
    with unharmed(site):
        for turn in range(1000):
            peer = site.connect()
            peer.say(hello)
            _vanish(peer, turn)


# Handshakes that do not end


@pytest.mark.parametrize("way", WAYS)
def test_five_hundred_half_open_handshakes(make_site: MakeSite, way: str) -> None:
    """Others come in promptly beside them, and at authtimeout they are gone; a second wave takes little more."""
    site = make_site("set authtimeout 3")
    for growth in WAVES_MIB:
        with unharmed(site, {"auth_timeout", "tls_failed"}, growth):
            _half_open(site, way)


def _half_open(site: Site, way: str) -> None:
    hello = Client(site.trusting).hello
    with contextlib.ExitStack() as stack:
        for turn in range(500):
            peer = stack.enter_context(site.connect(way))
            peer.say(hello[: turn % (len(hello) + 1)])  # nothing, a part, or nearly the whole
        with within(0.15), site.logged_in(way) as other:
            other.ask("QUIT")
        wait_until(lambda: len(site.proxy.sessions()) == 500 + 1, "all are there, and the other one has left")
        site.wait_for_the_bystander()


def test_half_open_handshakes_do_not_use_up_maxsession_for_ever(make_site: MakeSite) -> None:
    """When they hold every session, room is made for who comes then, or he waits until authtimeout is over for them."""
    site = make_site("set authtimeout 3", most=40)
    hello = Client(site.trusting).hello
    with unharmed(site, {"auth_timeout", "tls_failed", "displaced"}), contextlib.ExitStack() as stack:
        for _ in range(39):
            stack.enter_context(site.connect()).say(hello[:20])
        wait_until(lambda: len(site.proxy.sessions()) == 40, "they hold every session")
        with site.logged_in() as other:
            other.ask("QUIT")


@pytest.mark.parametrize("way", WAYS)
def test_an_octet_now_and_then(make_site: MakeSite, way: str) -> None:
    """Who sends a ClientHello octet by octet is cut off at authtimeout, and costs the worker next to nothing."""
    site = make_site("set authtimeout 3")
    hello = Client(site.trusting).hello
    with unharmed(site, {"auth_timeout", "tls_failed"}):
        peers = [site.connect(way) for _ in range(10)]
        before, sent = _cpu_seconds(site.worker()), 0
        with contextlib.suppress(ConnectionError):
            while sent < len(hello) - 1:
                for peer in peers:
                    peer.say(hello[sent : sent + 1])
                sent += 1
                time.sleep(0.1)
        assert 20 < sent < 60
        assert _cpu_seconds(site.worker()) - before < 1.0
        for peer in peers:
            peer.close()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


# Records that make no sense


@pytest.mark.parametrize("way", WAYS)
def test_large_records_of_garbage(make_site: MakeSite, way: str) -> None:
    """Records as large as can be and larger, of every kind, whole and cut, in place of the handshake and after it."""
    site, chance = make_site(), random.Random(2026)
    hello = Client(site.trusting).hello
    with unharmed(site):
        for turn in range(120):
            size = chance.choice([0, 1, 16384, 16384 + 256, 65535])
            kind = chance.choice([20, 21, 22, 23, 24, 255])
            record = bytes([kind, 3, chance.choice([0, 1, 3, 4])]) + size.to_bytes(2)
            with site.connect(way) as peer, contextlib.suppress(OSError):
                peer.say(chance.choice([b"", hello]) + record + chance.randbytes(size - size // 3 * (turn % 2)))
                peer.half_close()
                peer.rest()


@pytest.mark.parametrize("piece", [1, 2, 7])
def test_a_hello_in_many_records(make_site: MakeSite, piece: int) -> None:
    """A ClientHello cut into hundreds of records is read or refused; the octets after the cut are no other message."""
    site = make_site()
    message = Client(site.trusting).hello[5:]
    pieces = [message[start : start + piece] for start in range(0, len(message), piece)]
    with unharmed(site):
        for way in WAYS:
            with site.connect(way) as peer:
                peer.say(b"".join(RECORD + len(one).to_bytes(2) + one for one in pieces))
                assert peer.exactly(1) in (b"\x16", b"\x15"), "a ServerHello or an alert"


@pytest.mark.parametrize("alert", [b"\x01\x5a", b"\x01\x00", b"\x02\x28", b"\x02\x50", b"\xff\xff"])
def test_alerts_in_the_handshake(make_site: MakeSite, alert: bytes) -> None:
    """A flood of warnings, close_notify or a fatal alert, instead of the ClientHello or after it, ends the session."""
    site = make_site()
    with unharmed(site):
        for before in (b"", Client(site.trusting).hello):
            for way in WAYS:
                with site.connect(way) as peer, contextlib.suppress(OSError):
                    peer.say(before + (ALERT + alert) * 2000)
                    peer.half_close()
                    peer.rest()


NAMES = {
    "not UTF-8": b"\x82\x04\xff\xfeAB",
    "a NUL within": b"\x82\x0aann\0foe.de",
    "an empty one": b"\x82\x00",
    "an address of three octets": b"\x87\x03\x01\x02\x03",
}
"""subjectAltNames, without their outer frame, as only an authority that is careless would sign them."""


@pytest.mark.parametrize("asked", ["optional", "require"])
def test_a_client_certificate_that_cannot_be_read(make_site: MakeSite, tmp_path: Path, asked: str) -> None:
    """Its names make no sense, though the authority is believed: at most that session ends."""
    site = make_site()
    port = free_port()
    extra = f"prot POP3s clientcert {asked} clientca {tmp_path}/ca.pem state online"
    site.proxy.said(f"vserv conf v3 iface {LOOPBACK} port {port} {extra}")
    with unharmed(site):
        for number, names in enumerate(NAMES.values()):
            leaf = site.authority.issue(client=True, alternatives=b"\x30" + bytes([len(names)]) + names)
            context = site.authority.trusting()
            context.load_cert_chain(leaf.write_in_one(tmp_path, f"client{number}"))
            with PopClient(port) as peer, contextlib.suppress(OSError):
                raw = peer.connection.dup()
                raw.settimeout(PATIENCE)
                with context.wrap_socket(raw, server_hostname=NAME) as client:
                    client.recv(1 << 10)


# Within a session


def test_garbage_within_a_session(make_site: MakeSite) -> None:
    """A record that nobody can have sealed ends the session, logged in or not; what it says is not believed."""
    site = make_site()
    with unharmed(site):
        for turn in range(20):
            with site.logged_in() if turn % 2 else site.secure() as client:
                client.greeted()
                raw = socket.socket(fileno=client.connection.detach())
                with raw:
                    raw.settimeout(PATIENCE)
                    raw.sendall(b"\x17\x03\x03\x00\x20" + b"QUIT\r\n" + bytes(26) if turn % 4 < 2 else b"QUIT\r\n")
                    with contextlib.suppress(ConnectionError):
                        while raw.recv(1 << 16):
                            pass


@pytest.mark.parametrize("handler", ["close_notify", "fin", "rst"])
def test_the_client_leaves_in_the_middle_of_a_large_mail(make_site: MakeSite, handler: str) -> None:
    """By close_notify, FIN without it, or RST: the session ends, and nothing of the mail is kept."""
    site = make_site()
    with unharmed(site, BROKEN_OFF | {"backend_closed"}):
        for _ in range(5):
            client = site.logged_in()
            client.say(b"RETR 2\r\n")
            assert client.line() == b"+OK"
            assert isinstance(client.connection, ssl.SSLSocket)
            match handler:
                case "close_notify":
                    # Its own goes out before it hears of the other's; the mail that comes instead is an error to it.
                    with contextlib.suppress(ssl.SSLError, ConnectionError):
                        client.connection.unwrap()
                    client.close()
                case "fin":
                    client.close()
                case _:
                    client.reset()
            site.wait_for_the_bystander()


def test_a_line_without_its_end_is_no_command(make_site: MakeSite) -> None:
    """Who cuts the connection after `QUIT`, before its line end, has not made the client say it."""
    site = make_site()
    with unharmed(site):
        client = site.logged_in()
        client.say(b"DELE 1\r\nQUIT")
        assert client.line() == b"+OK"
        client.close()
        site.wait_for_the_bystander()


def test_a_flood_of_key_updates(make_site: MakeSite, tmp_path: Path) -> None:
    """Who changes the keys of TLS 1.3 all the time, and asks for ours to be changed, is served all the same."""
    site = make_site()
    command = [need("openssl"), "s_client", "-tls1_3", "-connect", f"{LOOPBACK}:{site.ports['POP3S']}"]
    heard = tmp_path / "heard"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with unharmed(site), ours, heard.open("wb") as output:
        with theirs:
            process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=output, stderr=output)
        ours.settimeout(PATIENCE)
        try:
            for line in (b"USER ann\r\n", b"PASS secret\r\n"):
                ours.send(line)
            wait_until(lambda: b"+OK logged in" in heard.read_bytes(), "it is logged in")
            for turn in range(3000):
                # s_client takes a K at the beginning of what it reads for a command, and each packet is a reading.
                ours.send(b"K\n" if turn % 10 else b"NOOP\r\n")
            ours.send(b"STAT\r\n")
            wait_until(lambda: b"+OK 2 " in heard.read_bytes(), "it is served")
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert heard.read_bytes().count(b"KEYUPDATE") == 2700
