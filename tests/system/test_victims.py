"""One client, or one backend, and many victims: each attack done as a stranger would, and what a victim then notices.

The figures are printed (`pytest -s`). Each test does the attack twice where a variable can take the defence away.
"""

import contextlib
import functools
import itertools
import os
import selectors
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import (
    LOOPBACK,
    Conversation,
    Peer,
    PopClient,
    Proxy,
    ScriptedBackend,
    free_port,
    pop3_server,
    wait_until,
)


@contextlib.contextmanager
def _at_work(stranger: Callable[[], None], over: threading.Event) -> Iterator[None]:
    """Beside the test, until `over` is set after it."""
    working = threading.Thread(target=stranger, daemon=True)
    working.start()
    try:
        yield
    finally:
        over.set()
        working.join(patient(30))


@contextlib.contextmanager
def crowd(count: int, deed: Callable[[], None]) -> Iterator[None]:
    """So many strangers, each of whom does it again and again; what breaks for them is theirs."""
    over = threading.Event()

    def live() -> None:
        while not over.is_set():
            try:
                deed()
            except (OSError, AssertionError):
                over.wait(0.01)

    strangers = [threading.Thread(target=live, daemon=True) for _ in range(count)]
    for stranger in strangers:
        stranger.start()
    try:
        yield
    finally:
        over.set()
        for stranger in strangers:
            stranger.join(patient(30))


def seconds_of(deed: Callable[[], object]) -> float:
    began = time.monotonic()
    deed()
    return time.monotonic() - began


def told(what: str, times: list[float]) -> float:
    """Prints what a victim waited; gives the median."""
    median = statistics.median(times)
    print(f"{what}: median {median * 1000:.0f} ms, at most {max(times) * 1000:.0f} ms, of {len(times)}")
    return median


def log_in(port: int, user: str, answer: bytes = b"+OK") -> None:
    """A whole session; the answer to PASS begins so."""
    with PopClient(port) as client:
        said = client.log_in(user, "secret")
        assert said.startswith(answer), said
        if answer == b"+OK":
            client.ask("QUIT")


# One hanging backend


def _silent(peer: Peer) -> None:
    """Takes the connection and says nothing."""
    peer.rest()


def _two_stores(directory: Path, good: ScriptedBackend, hung: ScriptedBackend, port: int) -> list[str]:
    users = directory / "users"
    users.write_text("default:ann:{PLAIN}secret:good:\ndefault:joe:{PLAIN}secret:hung:\n")
    return [
        f"backend conf good host {LOOPBACK} port {good.port} state online pipelining off",
        f"backend conf hung host {LOOPBACK} port {hung.port} state online connecttimeout 1 logintimeout 3",
        f"pdm add users passwd {users}",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]


def test_a_hanging_backend_leaves_sessions_for_the_users_of_the_others(tmp_path: Path) -> None:
    """With 20 sessions and 40 clients of a store that says nothing, users of the other store log in at once; with no
    limit they wait until sessions give up. Afterwards nobody is counted as waiting.
    """
    port = free_port()
    medians = {}
    with (
        ScriptedBackend(pop3_server([])) as good,
        ScriptedBackend(_silent) as hung,
        Proxy(tmp_path, _two_stores(tmp_path, good, hung, port), options=["-n", "20"]) as proxy,
    ):
        for most in ("0", "auto"):
            proxy.said(f"backend conf hung maxwaiting {most}")
            with crowd(40, lambda: log_in(port, "joe", b"-ERR [SYS/TEMP]")):
                time.sleep(0.5)
                waits = [seconds_of(lambda: log_in(port, "ann")) for _ in range(3 if most == "0" else 60)]
                waiting = proxy.state().counters()["backend_waiting"]
            medians[most] = told(f"maxwaiting {most}", waits)
            assert most == "0" or (isinstance(waiting, int) and waiting <= 5 + 1)
            proxy.wait_until_quiet()
        failures = proxy.state().counters()["backend_failures"]
        assert isinstance(failures, dict)
        assert failures["maxwaiting"] > 0
        assert proxy.state().counters()["backend_waiting"] == 0
    assert medians["auto"] < patient(0.5)
    assert medians["0"] > medians["auto"] * 2


@pytest.mark.nightly
def test_four_of_six_stores_that_hang_leave_sessions_for_the_users_of_the_others(tmp_path: Path) -> None:
    """With 40 sessions and 100 clients of four stores that say nothing, users of the other two log in at once."""
    port = free_port()
    hung = [f"hung{number}" for number in range(4)]
    with contextlib.ExitStack() as stores:
        good, silent = (stores.enter_context(ScriptedBackend(play)) for play in (pop3_server([]), _silent))
        users = [(name, name) for name in hung] + [("ann", "good1"), ("bob", "good2")]
        (tmp_path / "users").write_text("".join(f"default:{user}:{{PLAIN}}secret:{at}:\n" for user, at in users))
        rc = [
            *(f"backend conf {name} host {LOOPBACK} port {silent.port} state online" for name in hung),
            *(f"backend conf {name} host {LOOPBACK} port {good.port} state online" for name in ("good1", "good2")),
            f"pdm add users passwd {tmp_path / 'users'}",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
            "set connecttimeout 2s",
            "set logintimeout 2s",
        ]
        with Proxy(tmp_path, rc, options=["-n", "40"]) as proxy, contextlib.ExitStack() as crowds:
            for name in hung:
                crowds.enter_context(crowd(25, functools.partial(log_in, port, name, b"-ERR [SYS/TEMP]")))
            time.sleep(1)
            waits = [seconds_of(functools.partial(log_in, port, user)) for user in ("ann", "bob") * 30]
            waiting = proxy.state().counters()["backends_waiting"]
        told(f"four of six stores hang, {waiting} of 40 sessions wait for them; the others' users log in", waits)
        assert isinstance(waiting, int)
        assert waiting <= 20
    assert statistics.median(waits) < patient(0.5)
    assert max(waits) < patient(2)


def test_who_waited_in_a_worker_that_died_waits_no_more(tmp_path: Path) -> None:
    """The master takes off what a dead worker counted, so that its backend's share is free again."""
    port = free_port()
    with ScriptedBackend(pop3_server([])) as good, ScriptedBackend(_silent) as hung:
        rc = _two_stores(tmp_path, good, hung, port)
        with Proxy(tmp_path, rc, options=["-n", "20"], workers=1) as proxy, contextlib.ExitStack() as clients:
            for _ in range(3):
                client = clients.enter_context(PopClient(port))
                client.greeted()
                client.say(b"USER joe\r\nPASS secret\r\n")
            wait_until(lambda: proxy.state().counters()["backend_waiting"] == 3, "three wait")
            os.kill(proxy.workers()[0], signal.SIGKILL)
            wait_until(lambda: proxy.state().counters()["backend_waiting"] == 0, "nobody waits")


def test_a_slow_store_is_used_and_one_that_is_not_there_is_given_up_early(tmp_path: Path) -> None:
    """A store that greets after connecttimeout can be used; one that says nothing costs logintimeout."""
    port = free_port()

    def slow(peer: Peer) -> None:
        time.sleep(1.5)
        peer.say(b"+OK at last\r\n")
        peer.line()
        peer.say(b"+OK\r\n")
        peer.line()
        time.sleep(1.5)
        peer.say(b"+OK in\r\n")
        peer.rest()

    with ScriptedBackend(slow) as good, ScriptedBackend(_silent) as hung:
        rc = [*_two_stores(tmp_path, good, hung, port), "set connecttimeout 1s", "set logintimeout 3s"]
        with Proxy(tmp_path, rc) as proxy:
            with PopClient(port) as client:
                assert client.log_in() == b"+OK in"
            with PopClient(port) as client:
                waited = seconds_of(lambda: client.log_in("joe") and None)
            print(f"a silent store is given up after {waited:.1f} s")
            assert 3 <= waited < patient(4.5)
            proxy.wait_for_endings(2)


def test_refused_logins_do_not_flood_the_log(tmp_path: Path) -> None:
    """Each of 150 logins at a store that is not there has its line session_end, and 60 have a line that says why; those
    of another store are told all the same.
    """
    port = free_port()
    (tmp_path / "users").write_text("default:ann:{PLAIN}secret:good:\ndefault:joe:{PLAIN}secret:hung:\n")
    rc = [
        *(f"backend conf {name} host {LOOPBACK} port {free_port()} state online" for name in ("good", "hung")),
        f"pdm add users passwd {tmp_path / 'users'}",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]
    with Proxy(tmp_path, rc, workers=1) as proxy:
        for _ in range(150):
            log_in(port, "joe", b"-ERR [SYS/TEMP]")
        log_in(port, "ann", b"-ERR [SYS/TEMP]")
        proxy.wait_for_endings(151)
        failed = [entry.fields["backend"] for entry in proxy.log("backend_failed")]
    assert failed == ["hung"] * 60 + ["good"]


# Many questions of one client


_SLOW_MODULE = '''
import time
from popular.pdm.contract import Authenticated, Module, Route

class Slow(Module):
    """Takes as long as an expensive hash does, whoever asks."""
    local = LOCAL
    def __init__(self, ident, arguments):
        self.ident, self.arguments = ident, arguments
    def check(self, question):
        time.sleep(SECONDS)
        return Authenticated(Route("b"))

open_module = Slow
'''
_HASH_SECONDS = 0.25


def _asks(port: int, here: str, stays: bool) -> None:
    """A login from an address. Whoever does not stay is gone as soon as it has said its password."""
    with socket.create_connection((LOOPBACK, port), patient(20), (here, 0)) as connection:
        client = Conversation(connection, patient(20))
        client.ask("USER stranger")
        client.say(b"PASS x\r\n")
        if stays:
            client.line()
        else:
            time.sleep(0.05)
            client.reset()


@pytest.mark.parametrize("computes", [False, True], ids=["a module that waits", "a module that computes"])
@pytest.mark.parametrize("stays", [False, True], ids=["who hang up", "who stay"])
def test_logins_of_one_address_do_not_stop_those_of_others(stays: bool, computes: bool, tmp_path: Path) -> None:
    """With many more logins of one address than the modules can answer, whether their clients hang up or wait for the
    answer, a login from another takes at most the work of one turn; and nobody is left in the queue.
    """
    module = _SLOW_MODULE.replace("SECONDS", str(_HASH_SECONDS)).replace("LOCAL", str(computes))
    (tmp_path / "libpdm_slow.py").write_text(module)
    port = free_port()
    rc = [
        f"set pdmdir {tmp_path}",
        "backend conf b state fake",
        "pdm add slow slow",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]
    with Proxy(tmp_path, rc, workers=1) as proxy:
        alone = seconds_of(lambda: log_in(port, "ann"))
        with crowd(150, lambda: _asks(port, "127.0.0.2", stays)):
            time.sleep(2)
            waits = [seconds_of(lambda: log_in(port, "ann")) for _ in range(10)]
            length = proxy.state().counters()["module_queue"]
        told(f"a login takes {alone * 1000:.0f} ms alone; beside 150 strangers of one address, {length} waiting", waits)
        proxy.wait_until_quiet()
        counters = proxy.state().counters()
        dropped = counters["module_questions_dropped"]
        assert isinstance(dropped, dict)
        print(f"dropped: {dropped}")
        assert counters["module_queue"] == 0
        assert dropped["gone"] > 0 or stays
        # A thread is free after 1/2 of a hash at most; then one stranger's, and then its own.
        assert statistics.median(waits) < 3 * _HASH_SECONDS + patient(0.3)


# Many commands of many clients

_NOISY = 300


@contextlib.contextmanager
def noise(port: int, commands: bytes) -> Iterator[None]:
    """Connections that say this as fast as they can, and take the answers; one that is closed is made again."""
    over = threading.Event()

    def live() -> None:
        selector = selectors.DefaultSelector()

        def connect() -> None:
            connection = socket.create_connection((LOOPBACK, port), patient(20))
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)

        for _ in range(_NOISY):
            connect()
        while not over.is_set():
            for key, events in selector.select(0.1):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                try:
                    if events & selectors.EVENT_READ and not connection.recv(1 << 16):
                        raise ConnectionResetError
                    if events & selectors.EVENT_WRITE:
                        connection.send(commands)
                except BlockingIOError:
                    pass
                except OSError:
                    selector.unregister(connection)
                    connection.close()
                    connect()
            time.sleep(0.002)
        for key in list(selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        selector.close()

    with _at_work(live, over):
        yield


@pytest.mark.parametrize("most", ["50", "0"], ids=["with maxcommands", "with the turns alone"])
def test_noisy_clients_cost_a_quiet_one_milliseconds(most: str, tmp_path: Path) -> None:
    """With 300 connections that send commands without end, a quiet client's command is answered soon, even where
    maxcommands does not end them.
    """
    port = free_port()
    rc = [
        f"set maxcommands {most}",
        "backend conf b state fake",
        "pdm add all any b",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]
    with Proxy(tmp_path, rc, workers=1) as proxy:
        with PopClient(port) as quiet:
            assert quiet.log_in().startswith(b"+OK")
            alone = statistics.median(seconds_of(lambda: quiet.ask("NOOP") and None) for _ in range(20))
            with noise(port, b"USER stranger\r\n" * 500):
                time.sleep(1)
                waits = [seconds_of(lambda: quiet.ask("NOOP") and None) for _ in range(40)]
        median = told(
            f"maxcommands {most}: a command takes {alone * 1e6:.0f} µs alone; beside {_NOISY} strangers", waits
        )
        assert ("too_many_commands" in proxy.endings()) is (most == "50")
        assert median < patient(0.15)


# Many silent connections

_FULL = 400


@contextlib.contextmanager
def silent_crowd(port: int, here: str, count: int = _FULL) -> Iterator[list[socket.socket]]:
    """As many connections as there may be sessions, of one address; they say nothing."""
    with contextlib.ExitStack() as crowd_of:
        yield [
            crowd_of.enter_context(socket.create_connection((LOOPBACK, port), patient(10), (here, 0)))
            for _ in range(count)
        ]


def _displaced(proxy: Proxy) -> int:
    ended = proxy.state().counters()["sessions_ended"]
    assert isinstance(ended, dict)
    return ended["displaced"]


def test_silent_connections_make_room_for_new_clients(tmp_path: Path) -> None:
    """With every session taken by one address, a new client is greeted within a second; who has logged in, and who is
    silent at another address, stay. With `displace off` nobody makes room.
    """
    port = free_port()
    rc = [
        "set displace off",
        "backend conf b state fake",
        "pdm add all any b",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]
    with (
        Proxy(tmp_path, rc, options=["-n", str(_FULL)]) as proxy,
        PopClient(port) as logged_in,
        PopClient(port) as slow,
    ):
        assert logged_in.log_in().startswith(b"+OK")
        slow.ask("USER slow")
        with silent_crowd(port, "127.0.0.2"):
            wait_until(lambda: len(proxy.state().sessions()) == _FULL, "every session is taken")
            time.sleep(2.1)
            with PopClient(port, patience=patient(1.5)) as waits:
                try:
                    print(f"displace off: greeted: {waits.line()!r}")
                    raise AssertionError("somebody made room")
                except TimeoutError:
                    print("displace off: not greeted")
                proxy.said("set displace on")
                waits.connection.settimeout(patient(10))
                waits.line()
            times = []
            with contextlib.ExitStack() as clients:
                for _ in range(5):
                    times.append(seconds_of(lambda: clients.enter_context(PopClient(port)).line() and None))
            told(f"displace on: {_FULL} sessions are taken; a new client is greeted", times)
            displaced = _displaced(proxy)
            assert logged_in.ask("NOOP").startswith(b"+OK")
            assert slow.ask("PASS x").startswith(b"+OK")
        print(f"{displaced} were displaced")
        assert max(times) < patient(1.0)
        # Of the crowd, two connections were too many and waited too; and six clients came after them.
        assert 2 + 5 <= displaced <= 2 + 6
        lines = [entry.fields for entry in proxy.log("session_end")]
        assert {line["client"] for line in lines if line["ending"] == "displaced"} == {"127.0.0.2"}


@contextlib.contextmanager
def trickle(connections: list[socket.socket], pieces: Sequence[bytes]) -> Iterator[None]:
    """Each connection sends the next piece, about twice a second."""
    over = threading.Event()

    def live() -> None:
        for number in itertools.count():
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(pieces[number % len(pieces)])
            if over.wait(0.5):
                return

    with _at_work(live, over):
        yield


def _greeted(clients: contextlib.ExitStack, client: PopClient) -> None:
    clients.enter_context(client).greeted()


@pytest.mark.parametrize("pieces", [(b"U", b"S", b"E", b"R"), (b"CAPA\r\n",), (b"USER a\r\n", b"USER b\r\n")])
def test_who_only_seems_busy_makes_room_too(pieces: tuple[bytes, ...], tmp_path: Path) -> None:
    """With every session taken by connections that send an octet, or a command that brings them no further, twice a
    second, a new client is greeted within a second; somebody else who has just said his name stays.
    """
    port = free_port()
    rc = [
        "set maxcommands 0",
        "backend conf b state fake",
        "pdm add all any b",
        f"vserv conf v iface {LOOPBACK} port {port} state online",
    ]
    with (
        Proxy(tmp_path, rc, options=["-n", str(_FULL)]) as proxy,
        silent_crowd(port, "127.0.0.2") as crowd_of,
        trickle(crowd_of, pieces),
    ):
        wait_until(lambda: len(proxy.state().sessions()) == _FULL, "every session is taken")
        time.sleep(3.5)
        times = []
        with contextlib.ExitStack() as clients:
            for _ in range(5):
                client = PopClient(port)
                times.append(seconds_of(functools.partial(_greeted, clients, client)))
                assert client.ask("USER slow").startswith(b"+OK")
            told(f"{_FULL} sessions that seem busy ({pieces[0]!r}); a new client is greeted", times)
            assert client.ask("PASS x").startswith(b"+OK")
        lines = [entry.fields for entry in proxy.log("session_end")]
        assert {line["client"] for line in lines if line["ending"] == "displaced"} == {"127.0.0.2"}
    assert max(times) < patient(1.2)


def test_a_proxy_that_does_not_log_in_makes_room_at_a_storage_server(tmp_path: Path) -> None:
    """It is displaced before its request, whoever else comes; an octet now and then is none."""
    port = free_port()
    (tmp_path / "mail").mkdir()
    rc = [f"set mailboxdir {tmp_path / 'mail'}", f"server conf iface {LOOPBACK} port {port} state online"]
    with (
        Proxy(tmp_path, rc, options=["-n", "5"], name="pserv") as pserv,
        contextlib.ExitStack() as strangers,
    ):
        crowd_of = [strangers.enter_context(PopClient(port)).connection for _ in range(5)]
        wait_until(lambda: len(pserv.state().sessions()) == 5, "every session is taken")
        strangers.enter_context(trickle(crowd_of, (b"x",)))
        with PopClient(port) as proxy:
            proxy.say(b"nobody\r\n-\r\n-\r\n")
            waited = seconds_of(lambda: proxy.line() and None)
        print(f"a request is answered after {waited:.2f} s")
        assert "displaced" in pserv.endings()
