"""Both ways to OpenSSL do the same: straight (compiled), and through the ssl module. Two ends in one process."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from popular.net.tlscore import WAY, gather, peek, tls_of
from popular.net.tlsmodule import Plain, TlsThroughModule
from supervisor import compiled
from tests.patience import PATIENCE
from tests.system.certificates import Authority

NAME = "mail.example.org"
Make = Callable[..., Any]


def _through_module(
    context: ssl.SSLContext, plain: Plain, server_name: str | None, session: ssl.SSLSession | None
) -> TlsThroughModule:
    return TlsThroughModule(context, plain.connection, server_name=server_name, session=session)


@pytest.fixture(params=[tls_of, _through_module], ids=["best", "module"])
def make(request: pytest.FixtureRequest) -> Make:
    """The way that this Python takes, and the one that every Python can."""
    way: Make = request.param
    return way


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server with a certificate, and a client that believes it."""
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority()
    authority.issue(NAME).write(directory, "default")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    server.load_cert_chain(directory / "default.pem", directory / "default.key")
    return server, authority.trusting()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, the server's first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname(), timeout=PATIENCE)
        server, _ = listening.accept()
    for end in (client, server):
        end.setblocking(False)
    yield server, client
    for end in (client, server):
        end.close()


class Ends:
    """A server made in one of the ways, and a client by the ssl module alone."""

    def __init__(
        self, make: Make, contexts: tuple[ssl.SSLContext, ssl.SSLContext], pair: tuple[socket.socket, socket.socket]
    ) -> None:
        self.connection = pair[0]
        self.server = make(contexts[0], Plain(pair[0].fileno(), pair[0]), None, None)
        self.client = contexts[1].wrap_socket(pair[1], server_hostname=NAME, do_handshake_on_connect=False)

    def shake_hands(self) -> None:
        """Until both are done; an error of one is given to the other too before it is raised."""
        waits: list[object] = ["read", "read"]
        errors: list[OSError] = []
        for _ in range(2000):
            for end, step in enumerate((self._client_step, self.server.handshake)):
                if waits[end]:
                    try:
                        waits[end] = step()
                    except OSError as error:
                        errors.append(error)
                        waits[end] = None
            if not any(waits):
                break
        if errors:
            raise errors[0]
        assert waits == [None, None]

    def _client_step(self) -> str | None:
        try:
            self.client.do_handshake()
        except ssl.SSLWantReadError:
            return "read"
        return None

    def hear(self, many: int) -> bytes:
        """So many octets from the client."""
        heard = b""
        for _ in range(100_000):
            heard += self.server.receive(4096) or b""
            if len(heard) >= many:
                break
        return heard


@pytest.fixture
def ends(
    make: Make, contexts: tuple[ssl.SSLContext, ssl.SSLContext], pair: tuple[socket.socket, socket.socket]
) -> Iterator[Ends]:
    """Both, before their handshake."""
    both = Ends(make, contexts, pair)
    yield both
    both.server.close()
    both.client.close()


def test_the_way_is_the_straight_one() -> None:
    """Wherever the compiled form runs beside an OpenSSL in a library of its own: nothing falls back unseen."""
    if compiled.IN_USE is not None and "libssl" in Path(f"/proc/{os.getpid()}/maps").read_text():
        assert WAY.startswith("TLS straight from libssl"), WAY
    else:
        assert WAY.startswith("TLS through the ssl module"), WAY


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_two_ends_speak(
    make: Make,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    pair: tuple[socket.socket, socket.socket],
    version: ssl.TLSVersion,
) -> None:
    """Octets both ways, what was agreed, and the end, which close_notify tells."""
    contexts[1].maximum_version = version
    try:
        ends = Ends(make, contexts, pair)
    finally:
        contexts[1].maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert ends.server.receive(100) is None if version == ssl.TLSVersion.TLSv1_3 else True
    ends.shake_hands()
    assert (ends.server.receive(100), ends.server.pending()) == (None, False)
    assert (ends.server.about.version(), ends.server.about.session_reused) == (ends.client.version(), False)
    ends.client.send(b"USER joe\r\n")
    assert ends.hear(10) == b"USER joe\r\n"
    assert ends.server.send(b"") == 0
    assert ends.server.send(b"+OK\r\n") == 5
    ends.client.settimeout(PATIENCE)
    assert ends.client.recv(100) == b"+OK\r\n"
    ends.client.send(b"QUIT\r\n")
    ends.server.end_sending()
    assert ends.client.recv(100) == b""
    ends.client.close()
    ends.server.close()


def test_records_that_came_together_are_all_received(ends: Ends) -> None:
    """The descriptor may say nothing of them any more; and of a record that is not whole yet nothing is pending."""
    ends.shake_hands()
    for number in range(50):
        ends.client.send(b"%03d\r\n" % number)
    heard = ends.hear(5)
    while ends.server.pending():
        heard += ends.server.receive(4) or b""
    heard += ends.hear(250 - len(heard))
    assert heard == b"".join(b"%03d\r\n" % number for number in range(50))
    assert not ends.server.pending()
    os.write(ends.client.fileno(), b"\x17\3\3\0\x40half")
    assert ends.server.receive(100) is None
    assert not ends.server.pending()


def test_a_slow_reader_loses_nothing(ends: Ends) -> None:
    """What was not taken comes again with more after it, from another place in memory."""
    ends.shake_hands()
    (ends.server.connection or ends.connection).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    ends.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    unsent, sent, whole = b"", 0, bytes(range(256)) * 4096
    while sent < len(whole):
        unsent += whole[sent : sent + 100_000]
        sent += 100_000
        unsent = unsent[ends.server.send(unsent) :]
    assert unsent, "the socket took all of it"
    heard = b""
    for _ in range(100_000):
        try:
            heard += ends.client.recv(65536)
        except ssl.SSLWantReadError:
            pass
        if unsent:
            unsent = unsent[ends.server.send(unsent + b"") :]
        elif len(heard) == len(whole):
            break
    assert heard == whole


def test_a_reset_is_the_end(ends: Ends) -> None:
    """So Python has it; and nothing can be sent any more, not even a goodbye."""
    ends.shake_hands()
    ends.server.send(b"what nobody reads")
    ends.client.close()
    assert ends.server.receive(100) == b""
    with pytest.raises(OSError):
        ends.server.send(b"again")
    ends.server.end_sending()


def test_an_end_without_goodbye_is_the_end(ends: Ends) -> None:
    """RFC 8314 wants close_notify, and many do not send it."""
    ends.shake_hands()
    socket.SocketType.close(ends.client)
    assert ends.server.receive(100) == b""


def test_what_is_closed_is_closed(ends: Ends) -> None:
    """No call reaches what OpenSSL had there."""
    ends.shake_hands()
    ends.server.close()
    for call in (lambda: ends.server.receive(1), lambda: ends.server.send(b"x"), ends.server.handshake):
        with pytest.raises((OSError, ValueError, AttributeError)):
            call()
    ends.server.end_sending()
    ends.server.close()


def _no_tls(ends: Ends) -> None:
    socket.SocketType.send(ends.client, b"USER joe\r\n")
    ends.server.handshake()


def _old_version(ends: Ends) -> None:
    ends.client.context.maximum_version = ssl.TLSVersion.TLSv1_1
    ends.shake_hands()


def _gone(ends: Ends) -> None:
    socket.SocketType.close(ends.client)
    ends.server.handshake()


def _distrust(ends: Ends) -> None:
    ends.client.context = ssl.create_default_context()
    ends.shake_hands()


@pytest.mark.parametrize("wrong", [_no_tls, _gone, _distrust])
def test_errors_are_those_of_the_ssl_module(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], wrong: Callable[[Ends], None]
) -> None:
    """Same class, same number, same reason, whichever way; and none is left lying for the next connection."""
    told = []
    for make in (tls_of, _through_module):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname(), timeout=PATIENCE)
            server, _ = listening.accept()
        for end in (client, server):
            end.setblocking(False)
        ends = Ends(make, contexts, (server, client))
        with pytest.raises(OSError) as raised:
            wrong(ends)
        error = raised.value
        told.append((type(error), error.errno, getattr(error, "reason", None), getattr(error, "verify_message", None)))
        ends.client.close()
        ends.server.close()
        server.close()
    assert told[0] == told[1]


def test_each_of_many_has_its_own_error(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Several servers, which all were there before the first one failed."""
    pairs = [socket.socketpair() for _ in range(3)]
    for near, far in pairs:
        near.setblocking(False)
        far.send(b"USER joe\r\n")
    servers = [tls_of(contexts[0], Plain(near.fileno(), near), None, None) for near, _ in pairs]
    for server in servers:
        with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
            server.handshake()
        assert server.about.version() is None
    for server, (near, far) in zip(servers, pairs, strict=True):
        server.close()
        near.close()
        far.close()


CYCLES = """
import gc, socket, ssl
from popular.net.tlscore import tls_of
from popular.net.tlsmodule import Plain

for number in range(60):
    near, far = socket.socketpair()
    near.setblocking(False)
    serves = number % 3 > 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if serves else ssl.PROTOCOL_TLS_CLIENT)
    end = tls_of(context, Plain(near.fileno(), near), None if serves else "mail.example.org", None)
    about = end.about if number % 3 > 1 else None
    cycle = [end]
    cycle.append(cycle)
    del about, context, cycle, end, near
    gc.collect()
"""


@pytest.mark.processes
def test_what_nobody_has_closed_is_freed_once() -> None:
    """Where it hangs in a cycle the collector takes away what it holds before it is freed: an SSL of the module's,
    one of the core's, one that has moved.
    """
    done = subprocess.run(
        [sys.executable, "-c", CYCLES], cwd=Path(__file__).parents[2], capture_output=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_to_peek_takes_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    """Nothing, something, the end."""
    server, client = pair
    assert peek(server.fileno(), 100) is None
    client.send(b"\x16\3\1")
    server.setblocking(True)
    assert (server.recv(3, socket.MSG_PEEK), peek(server.fileno(), 2), peek(server.fileno(), 9)) == (
        b"\x16\3\1",
        b"\x16\3",
        b"\x16\3\1",
    )
    assert server.recv(9) == b"\x16\3\1"
    client.shutdown(socket.SHUT_WR)
    assert server.recv(9, socket.MSG_PEEK) == b""
    assert peek(server.fileno(), 9) == b""
    with pytest.raises(OSError):
        peek(1_000_000, 9)


def test_what_is_gathered_goes_out_at_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    """In one packet, when it is said; on a descriptor that is none it is of no matter."""
    server, client = pair
    gather(server.fileno(), True)
    assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 1
    server.send(b"one ")
    server.send(b"two")
    with pytest.raises(BlockingIOError):
        client.recv(100)
    gather(server.fileno(), False)
    client.settimeout(PATIENCE)
    assert client.recv(100) == b"one two"


@pytest.mark.processes
def test_beside_another_openssl_the_ssl_module_is_asked(tmp_path: Path) -> None:
    """A function of the same name somewhere else in the process: then nobody can say which one is meant."""
    compiler = shutil.which(str(sysconfig.get_config_var("CC") or "cc").split()[0])
    if compiler is None or compiled.IN_USE is None:
        assert WAY.startswith("TLS through the ssl module")
        return
    (tmp_path / "other.c").write_text("int SSL_read_ex(void) { return 0; }\n")
    library = tmp_path / "other.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "other.c"], check=True, timeout=PATIENCE)
    code = "from popular.net.tlscore import WAY; print(WAY)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"LD_PRELOAD": str(library)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "TLS through the ssl module: there are two OpenSSLs, with a SSL_read_ex each\n"
