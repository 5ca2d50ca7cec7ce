"""Clients and backends that behave badly: bounded memory, bounded time, and exactly one listed ending for each session.

At the end of every test the table is empty, and all tokens are back: as many sessions as `maxsession` allows are opened
once more, and one more client has to wait.
"""

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.bench.processes import memory_bytes
from tests.patience import patient
from tests.system.site import (
    LOOPBACK,
    PATIENCE,
    Peer,
    Play,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    pop3_server,
    wait_until,
)

MOST = 12
"""`maxsession` of all sites here."""

MIB = 1 << 20
GROWTH_MIB = 2
"""How much more memory all workers together may take than on a quiet server."""

_TRY_LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later"
_FAKE = "backend conf b1 state fake"


class Site:
    """A proxy with one virtual server and one backend."""

    def __init__(self, proxy: Proxy, port: int, backend: ScriptedBackend) -> None:
        self.proxy = proxy
        self.port = port
        self.backend = backend
        self._quiet = self.memory()

    def memory(self) -> int:
        """Octets of memory that the workers have now, but for files: those come in page by page, whatever is done."""
        return memory_bytes(self.proxy.workers())["anonymous"]

    def assert_memory_is_bounded(self) -> None:
        """No more memory than on the quiet server, but for a few MiB."""
        growth = (self.memory() - self._quiet) / MIB
        assert growth < GROWTH_MIB, f"{growth:.1f} MiB more than on the quiet server"

    def assert_ended(self, *endings: str) -> None:
        """So many sessions are over, with these endings in some order; the table is empty; all tokens are back."""
        assert sorted(self.proxy.wait_for_endings(len(endings))) == sorted(endings)
        self.proxy.wait_until_quiet()
        with contextlib.ExitStack() as stack:
            for _ in range(MOST):
                assert stack.enter_context(PopClient(self.port)).greeted().startswith(b"+OK")
            waiting = stack.enter_context(PopClient(self.port, patience=0.2))
            with pytest.raises(TimeoutError):
                waiting.greeted()
        # Whoever waited is let in when the others leave, and finds that nobody is there any more.
        self.proxy.wait_for_endings(len(endings) + MOST + 1)
        self.proxy.wait_until_quiet()


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """`make_site(play, *rc_lines)`: a site whose backend does `play`."""
    with contextlib.ExitStack() as stack:

        def make(play: Play, *rc_lines: str) -> Site:
            backend = stack.enter_context(ScriptedBackend(play))
            return stack.enter_context(_site(tmp_path, backend, rc_lines))

        yield make


@contextlib.contextmanager
def _site(directory: Path, backend: ScriptedBackend, rc_lines: Sequence[str] = ()) -> Iterator[Site]:
    port = free_port()
    rc = [
        f"backend conf b1 host {LOOPBACK} port {backend.port} state online pipelining off",
        "pdm add all any b1",
        *rc_lines,
        f"vserv conf v1 iface {LOOPBACK} port {port} state online",
    ]
    with Proxy(directory, rc, options=("-n", str(MOST))) as proxy:
        yield Site(proxy, port, backend)


def _send_until_stuck(client: Peer, data: bytes, most: int) -> int:
    """Sends as fast as it is taken, and gives up after half a second without progress; how many octets were taken."""
    sent = 0
    client.connection.settimeout(0.5)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while sent < most:
            sent += client.connection.send(data)
    client.connection.settimeout(PATIENCE)
    return sent


# Clients that send rubbish


@pytest.mark.parametrize("state", ["before login", "logged in"])
def test_a_line_without_end(make_site: MakeSite, state: str) -> None:
    """Megabytes without a line end: the client is cut off, and nothing is hoarded."""
    site = make_site(pop3_server([]), _FAKE)
    with PopClient(site.port) as client:
        client.greeted()
        if state == "logged in":
            client.log_in()
        taken = _send_until_stuck(client, b"x" * 65536, 20 * MIB)
        client.rest()

    assert taken < 20 * MIB
    site.assert_memory_is_bounded()
    site.assert_ended("line_too_long")


def test_binary(make_site: MakeSite) -> None:
    """Random octets, before login and in the empty mailbox: each session ends as listed, and the server is unharmed."""
    site, chance = make_site(pop3_server([]), _FAKE), random.Random(2026)
    for turn in range(60):
        with PopClient(site.port) as client:
            if turn % 2:
                client.log_in()
            with contextlib.suppress(ConnectionError):
                client.say(chance.randbytes(chance.randrange(1, 3000)))
                client.half_close()
            client.rest()

    endings = site.proxy.wait_for_endings(60)
    assert set(endings) <= {"null_byte", "line_too_long", "too_many_errors", "client_closed", "client_reset"}
    assert len(site.proxy.log("null_byte_in_input")) == endings.count("null_byte") > 0
    assert {entry.number for entry in site.proxy.log("null_byte_in_input")} == {"0035"}
    site.assert_ended(*endings)


def test_a_nul_is_dropped_silently_and_logged(make_site: MakeSite) -> None:
    """Before login, in the empty mailbox and in the relay: no word to the client, log 0035, nothing to the backend."""
    site = make_site(pop3_server([]), "backend conf b2 state fake", "pdm flush", "pdm add all any b1")
    with PopClient(site.port) as client:
        client.greeted()
        client.say(b"USER \0\r\n")
        assert client.rest() == b""
    site.proxy.wait_for_endings(1)
    with PopClient(site.port) as client:
        client.log_in()
        client.say(b"\0NOOP\r\n")
        assert client.rest() == b""

    assert site.proxy.wait_for_endings(2) == ["null_byte"] * 2
    wait_until(lambda: len(site.backend.received) == 1, "the backend's connection is over")
    assert site.backend.received == [b""]
    assert [entry.number for entry in site.proxy.log("null_byte_in_input")] == ["0035", "0035"]
    site.assert_ended("null_byte", "null_byte")


# Clients that ask for too much


def _count_answers(client: Peer, count: int, answer: bytes) -> None:
    assert client.exactly(count * len(answer)) == answer * count


@pytest.mark.parametrize("backend", ["simulated", "relayed"])
def test_ten_thousand_pipelined_noops(make_site: MakeSite, backend: str) -> None:
    """Each is answered, in order, and nothing is hoarded meanwhile."""
    site = make_site(pop3_server([]), *([_FAKE] if backend == "simulated" else []))
    with PopClient(site.port) as client:
        client.log_in()
        sending = threading.Thread(target=client.say, args=(b"NOOP\r\n" * 10_000 + b"QUIT\r\n",))
        sending.start()
        _count_answers(client, 10_000, b"+OK\r\n")
        sending.join(PATIENCE)
        assert client.rest() == b"+OK bye\r\n"

    site.assert_memory_is_bounded()
    site.assert_ended("quit")


@pytest.mark.parametrize("backend", ["simulated", "relayed"])
def test_a_client_that_asks_and_never_reads(make_site: MakeSite, backend: str) -> None:
    """It is not read any further when it does not take its answers, and nothing is hoarded."""
    site = make_site(pop3_server([]), *([_FAKE] if backend == "simulated" else []))
    with PopClient(site.port, receive_buffer=4096) as client:
        client.log_in()
        taken = _send_until_stuck(client, b"CAPA\r\n" * 10_000, 40 * MIB)
        assert taken < 40 * MIB
        site.assert_memory_is_bounded()
        client.reset()

    site.assert_ended("client_reset")


def test_what_is_sent_ahead_of_a_slow_login_is_not_hoarded_and_arrives_once(make_site: MakeSite) -> None:
    """A megabyte after PASS waits in the kernel while the backend thinks, then goes to it octet for octet."""
    may_answer, ahead = threading.Event(), b"".join(b"NOOP %07d\r\n" % number for number in range(80_000))
    replies = 80_000 * b"+OK\r\n"
    digests: list[str] = []

    def play(peer: Peer) -> None:
        peer.say(b"+OK\r\n")
        peer.line()
        peer.say(b"+OK\r\n")
        peer.line()
        assert may_answer.wait(PATIENCE)
        peer.say(b"+OK in\r\n")
        digests.append(hashlib.sha256(peer.exactly(len(ahead))).hexdigest())
        assert peer.line() == b"QUIT"
        peer.say(replies + b"+OK bye\r\n")

    site = make_site(play)
    with PopClient(site.port) as client:
        client.greeted()
        data = b"USER ann\r\nPASS secret\r\n" + ahead + b"QUIT\r\n"
        sending = threading.Thread(target=client.say, args=(data,))
        sending.start()
        wait_until(lambda: site.backend.connections, "the backend is connected to")
        site.assert_memory_is_bounded()
        may_answer.set()
        sending.join(PATIENCE)
        assert client.rest() == b"+OK send PASS\r\n+OK in\r\n" + replies + b"+OK bye\r\n"

    assert digests == [hashlib.sha256(ahead).hexdigest()]
    site.assert_memory_is_bounded()
    site.assert_ended("quit")


# Clients that are silent, slow, or half gone


def test_clients_that_say_nothing(make_site: MakeSite) -> None:
    """After authtimeout they are closed without a word; also one that says an octet now and then."""
    site = make_site(pop3_server([]), "set authtimeout 1s")
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(PopClient(site.port)) for _ in range(MOST)]
        for client in clients:
            client.greeted()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begin < patient(10) and len(site.proxy.endings()) < MOST:
                clients[0].say(b"U")
                time.sleep(0.1)
        assert [client.rest() for client in clients] == [b""] * MOST

    assert time.monotonic() - begin >= 1
    site.assert_ended(*["auth_timeout"] * MOST)


@pytest.mark.parametrize("backend", ["simulated", "relayed"])
def test_a_half_closed_client_gets_its_answers(make_site: MakeSite, backend: str) -> None:
    """`printf … | nc -N`: everything in one piece, then the end of input; the answers still arrive."""
    site = make_site(pop3_server([b"Subject: x\r\n\r\n"]), *([_FAKE] if backend == "simulated" else []))
    with PopClient(site.port) as client:
        client.say(b"USER ann\r\nPASS secret\r\nSTAT\r\nNOOP\r\nQUIT\r\n")
        client.half_close()
        answers = client.rest().split(b"\r\n")

    assert answers[2:] == (
        [b"+OK 0 messages (0 octets)", b"+OK 0 0", b"+OK", b"+OK bye", b""]
        if backend == "simulated"
        else [b"+OK logged in", b"+OK 1 14", b"+OK", b"+OK bye", b""]
    )
    site.assert_ended("quit")


def test_a_half_closed_client_without_quit(make_site: MakeSite) -> None:
    """It gets its answers too; the backend decides when it is over."""
    site = make_site(pop3_server([]))
    with PopClient(site.port) as client:
        client.say(b"USER ann\r\nPASS secret\r\nSTAT\r\n")
        client.half_close()
        assert client.rest().endswith(b"+OK 0 0\r\n")

    site.assert_ended("client_closed")


def test_slow_readers_of_a_large_mail(make_site: MakeSite) -> None:
    """While ten clients do not read their 50 MB, the workers' memory stays as it was; then all of it arrives."""
    line = b"." * 30 + b"0123456789" * 4 + b"\r\n"
    mail = line * (50_000_000 // len(line))
    site = make_site(pop3_server([mail]))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(PopClient(site.port, receive_buffer=16384)) for _ in range(10)]
        for client in clients:
            client.log_in()
            client.say(b"RETR 1\r\n")
            assert client.line() == b"+OK"
        time.sleep(0.5)
        site.assert_memory_is_bounded()
        clients[0].connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        assert _digest_of_mail(clients[0], len(mail) + len(mail) // len(line)) == hashlib.sha256(mail).hexdigest()
        site.assert_memory_is_bounded()
        assert clients[0].ask("QUIT") == b"+OK bye"
        for client in clients[1:]:
            client.reset()

    site.assert_ended("quit", *["client_reset"] * 9)


def _digest_of_mail(client: Peer, octets: int) -> str:
    """The digest of a mail of so many octets, its dots still stuffed; after it stands the lone dot."""
    pieces, count = [client.heard], len(client.heard)
    client.heard = b""
    while count < octets + len(b".\r\n"):
        pieces.append(client.connection.recv(1 << 20))
        assert pieces[-1], f"closed after {count} octets"
        count += len(pieces[-1])
    stuffed = b"".join(pieces)
    assert stuffed.endswith(b"\r\n.\r\n")
    unstuffed = (b"\r\n" + stuffed[:-3]).replace(b"\r\n..", b"\r\n.")[2:]
    return hashlib.sha256(unstuffed).hexdigest()


# Clients that vanish


def _silent(peer: Peer) -> None:
    """A backend that takes the connection and never says a word, however long it takes."""
    peer.connection.settimeout(patient(60))
    peer.rest()


def _half_a_mail(peer: Peer) -> None:
    """A backend that sends the beginning of a large mail, and then waits."""
    peer.say(b"+OK\r\n")
    peer.line()
    peer.say(b"+OK\r\n")
    peer.line()
    peer.say(b"+OK\r\n")
    peer.line()
    peer.say(b"+OK\r\n" + b"x" * 70 * 1000)
    peer.rest()


@pytest.mark.parametrize("moment", ["at once", "greeted", "named", "connecting", "joined", "in a mail"])
def test_a_client_that_vanishes(make_site: MakeSite, moment: str) -> None:
    """A reset at any moment ends the session, and the connection to the backend with it."""
    plays = {"connecting": _silent, "in a mail": _half_a_mail}
    site = make_site(plays.get(moment, pop3_server([])))
    with PopClient(site.port) as client:
        if moment != "at once":
            client.greeted()
        if moment == "named":
            client.ask("USER ann")
        elif moment == "connecting":
            client.say(b"USER ann\r\nPASS secret\r\n")
            wait_until(lambda: site.backend.connections, "the backend is connected to")
        elif moment in ("joined", "in a mail"):
            assert client.log_in().startswith(b"+OK")
        if moment == "in a mail":
            client.say(b"RETR 1\r\n")
            client.exactly(30_000)
        client.reset()

    site.assert_ended("client_reset")
    wait_until(lambda: len(site.backend.received) == site.backend.connections, "the backend's connections are over")
    assert b"QUIT" not in b"".join(site.backend.received)


def test_a_client_that_leaves_while_the_backend_thinks(make_site: MakeSite) -> None:
    """PASS was its last word, so nobody waits for the answer: the session ends at once, and the backend is left."""
    left: list[bytes] = []
    site = make_site(lambda peer: left.append(peer.rest()))
    with PopClient(site.port) as client:
        client.ask("USER ann")
        client.say(b"PASS secret\r\n")
        wait_until(lambda: site.backend.connections, "the backend is connected to")

    ended = site.proxy.wait_for_endings(1)
    assert ended[0] in ("client_closed", "client_reset")
    site.assert_ended(*ended)
    wait_until(lambda: left, "the backend is left")
    assert left == [b""]


# Backends


def _closes(_peer: Peer) -> None:
    return


def _resets(peer: Peer) -> None:
    peer.reset()


def _greets_with_garbage(peer: Peer) -> None:
    peer.say(random.Random(1).randbytes(200).replace(b"\n", b"") + b"\r\n")
    peer.rest()


def _greets_without_end(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            peer.say(b"+OK " + b"x" * 4096)


def _greets_line_after_line(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError):
        peer.say(b"+OK and one more\r\n" * 10_000)


def _greets_with_err(peer: Peer) -> None:
    peer.say(b"-ERR too many connections\r\n")
    peer.rest()


def _closes_after_user(peer: Peer) -> None:
    peer.say(b"+OK\r\n")
    peer.line()


BAD_BEFORE_LOGIN = {
    "closes": _closes,
    "resets": _resets,
    "greets with garbage": _greets_with_garbage,
    "greets without end": _greets_without_end,
    "greets line after line": _greets_line_after_line,
    "greets with -ERR": _greets_with_err,
    "closes after the user name": _closes_after_user,
}


@pytest.mark.parametrize("how", BAD_BEFORE_LOGIN)
def test_a_backend_that_is_bad_before_login(make_site: MakeSite, how: str) -> None:
    """The client is asked to come again later, and hears nothing of what the backend said."""
    site = make_site(BAD_BEFORE_LOGIN[how])
    with PopClient(site.port) as client:
        assert client.log_in() == _TRY_LATER
        assert client.rest() == b""

    assert len(site.proxy.log("backend_failed")) == 1
    site.assert_memory_is_bounded()
    site.assert_ended("backend_failed")


def test_a_backend_that_refuses_connections(make_site: MakeSite) -> None:
    """The client is asked to come again later."""
    site = make_site(_closes, f"backend conf b1 port {free_port()}")
    with PopClient(site.port) as client:
        assert client.log_in() == _TRY_LATER
        assert client.rest() == b""

    site.assert_ended("backend_failed")


def _login(peer: Peer) -> None:
    for _ in range(2):
        peer.say(b"+OK\r\n")
        peer.line()
    peer.say(b"+OK\r\n")


@pytest.mark.parametrize("octets", [10, 3_000_000])
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_backend_that_leaves_in_the_middle_of_a_mail(make_site: MakeSite, how: str, octets: int) -> None:
    """What came before is passed on; then the client's connection is closed, without a lone dot."""

    def play(peer: Peer) -> None:
        _login(peer)
        assert peer.line() == b"RETR 1"
        peer.say(b"+OK\r\n" + b"x" * octets)
        if how == "resets":
            # Not before the proxy has read everything: a reset throws away what is under way.
            wait_until(lambda: taken.is_set(), "the client has it")
            peer.reset()

    taken = threading.Event()
    site = make_site(play)
    with PopClient(site.port) as client:
        client.log_in()
        client.say(b"RETR 1\r\n")
        assert client.exactly(octets + 5) == b"+OK\r\n" + b"x" * octets
        taken.set()
        assert client.rest() == b""

    site.assert_ended("backend_closed")


def test_a_backend_that_closes_without_having_answered_quit(make_site: MakeSite) -> None:
    """The client has said QUIT; whether its mails were deleted, nobody knows: it is no proper end."""

    def play(peer: Peer) -> None:
        _login(peer)
        assert peer.line() == b"QUIT"

    site = make_site(play)
    with PopClient(site.port) as client:
        client.log_in()
        client.say(b"QUIT\r\n")
        assert client.rest() == b""

    site.assert_ended("backend_closed")


def test_a_backend_that_floods_a_client_which_does_not_read(make_site: MakeSite) -> None:
    """Nothing is hoarded; when the backend gives up, the session is over."""
    stuck = threading.Event()

    def play(peer: Peer) -> None:
        _login(peer)
        taken = _send_until_stuck(peer, b"y" * 65536, 100 * MIB)
        assert taken < 100 * MIB
        stuck.set()
        peer.rest()

    site = make_site(play)
    with PopClient(site.port, receive_buffer=4096) as client:
        client.log_in()
        assert stuck.wait(PATIENCE)
        site.assert_memory_is_bounded()
        client.reset()

    site.assert_ended("client_reset")


_HANGS = """\
import time
from popular.pdm.contract import Module, UNKNOWN
class Hangs(Module):
    ident, arguments = "hangs", ()
    def check(self, question):
        if question.user == "hang":
            time.sleep(60)
        return UNKNOWN
def open_module(ident, arguments):
    return Hangs()
"""


def test_a_module_that_hangs_holds_up_nobody_else(make_site: MakeSite, tmp_path: Path) -> None:
    """Others are served meanwhile, and the program can be shut down at once."""
    (tmp_path / "libpdm_hangs.py").write_text(_HANGS)
    site = make_site(pop3_server([]), f"set pdmdir {tmp_path}", "pdm flush", "pdm add hangs hangs")
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(PopClient(site.port))
            assert client.ask("USER hang") == b"+OK send PASS"
            client.say(b"PASS secret\r\n")
        other = stack.enter_context(PopClient(site.port))
        assert other.log_in().startswith(b"-ERR [AUTH]")
        assert other.ask("QUIT") == b"+OK bye"

        assert site.proxy.wait_for_endings(1) == ["quit"]
    site.proxy.stop()


def test_a_backend_that_never_answers(make_site: MakeSite) -> None:
    """After logintimeout the client is asked to come again."""
    site = make_site(_silent, "set connecttimeout 1s", "set logintimeout 3s")
    begin = time.monotonic()
    with PopClient(site.port) as client:
        assert client.log_in() == _TRY_LATER
        assert client.rest() == b""

    assert time.monotonic() - begin >= 3
    assert [entry.fields["reason"] for entry in site.proxy.log("backend_failed")] == ["no answer in time"]
    site.assert_ended("backend_failed")
