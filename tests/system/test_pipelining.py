"""USER and PASS in one piece: what a backend announces is found out after a login, used by all workers, and forgotten
when the backend does not keep to it.
"""

import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.patience import patient
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until
from tests.system.wire import Peer, Play, ScriptedBackend

ROUND_TRIP = 0.02
TRY_LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later"


class Store:
    """A POP3 backend that answers whatever came in one piece in one piece, and remembers what that was.

    `delay`: so long an answer is on its way; `forgets`: what stands after USER in the same piece.
    """

    def __init__(self, announces: Sequence[bytes], delay: float = 0.0, forgets: bool = False) -> None:
        self.announces = announces
        self.delay = delay
        self.forgets = forgets
        self.said: list[list[bytes]] = []
        """By connection, its pieces."""
        self._lock = threading.Lock()

    def play(self, peer: Peer) -> None:
        pieces: list[bytes] = []
        with self._lock:
            self.said.append(pieces)
        self._answer(peer, b"+OK ready\r\n")
        while piece := peer.connection.recv(4096):
            pieces.append(piece)
            lines = piece.splitlines()
            if self.forgets and lines[0].startswith(b"USER"):
                lines = lines[:1]
            self._answer(peer, b"".join(self._reply(line) for line in lines))
            if b"QUIT" in lines:
                return

    def _answer(self, peer: Peer, reply: bytes) -> None:
        time.sleep(self.delay)
        peer.say(reply)

    def _reply(self, line: bytes) -> bytes:
        if line == b"CAPA":
            return b"".join(one + b"\r\n" for one in (b"+OK", *self.announces, b"."))
        return b"+OK\r\n"

    def logins(self) -> list[list[bytes]]:
        """The pieces of those connections in which a user was named."""
        return [pieces for pieces in self.said if any(piece.startswith(b"USER") for piece in pieces)]

    def questions(self) -> int:
        """Connections in which it was asked what it announces."""
        return sum(b"CAPA\r\n" in pieces for pieces in self.said)


def _site(backend: int, port: int, words: str = "") -> list[str]:
    return [
        f"backend conf b1 host {LOOPBACK} port {backend} {words} state online",
        "pdm add everyone any b1",
        f"vserv conf v1 iface {LOOPBACK} port {port} state online",
    ]


def _log_in(port: int) -> bytes:
    with PopClient(port) as client:
        reply = client.log_in()
        if reply.startswith(b"+OK"):
            client.ask("QUIT")
        return reply


def _known(proxy: Proxy) -> dict[str, object]:
    record = proxy.state().records("announced").get("b1")
    return {} if record is None else record


@pytest.fixture
def announcing() -> Iterator[tuple[Store, ScriptedBackend]]:
    """A backend that announces PIPELINING, among other things."""
    store = Store([b"TOP", b"PIPELINING", b"\xff nonsense", b"IMPLEMENTATION A B"])
    with ScriptedBackend(store.play) as backend:
        yield store, backend


ONE_BY_ONE = [b"USER ann\r\n", b"PASS secret\r\n"]
IN_ONE_PIECE = [b"USER ann\r\nPASS secret\r\n"]


def test_a_backend_is_asked_once_and_all_workers_know(
    tmp_path: Path, announcing: tuple[Store, ScriptedBackend]
) -> None:
    """The first login waits for each reply; after it one worker asks, and from then on all say both at once. Nobody
    asks again within the minute. `backend show` tells what was heard, without what is no capability.
    """
    store, backend = announcing
    port = free_port()
    with Proxy(tmp_path, _site(backend.port, port), workers=3) as proxy:
        assert _log_in(port) == b"+OK"
        wait_until(lambda: _known(proxy).get("heard"), "the backend has answered")
        time.sleep(patient(1.1))  # for so long a worker may go on with what it knew
        first, *_ = store.logins()
        assert first[:2] == ONE_BY_ONE
        for _ in range(30):
            assert _log_in(port) == b"+OK"
        assert [pieces[:1] for pieces in store.logins()[1:]] == [IN_ONE_PIECE] * 30
        proxy.wait_until_quiet()
        assert len({entry.pid for entry in proxy.log("session_end")}) > 1
        assert store.questions() == 1
        shown = json.loads("".join(proxy.said("json backend show b1").lines))
        assert shown["announces"] == ["TOP", "PIPELINING", "IMPLEMENTATION A B"]
        assert proxy.said("backend show b1").lines[-1].endswith(": TOP, PIPELINING, IMPLEMENTATION A B")
        proxy.said("backend conf b1 pipelining off")
        assert _log_in(port) == b"+OK"
        assert store.logins()[-1][:2] == ONE_BY_ONE
        proxy.said(f"backend conf b1 pipelining auto port {free_port()}")
        assert json.loads("".join(proxy.said("json backend show b1").lines))["announces"] is None


def _refuses(peer: Peer) -> None:
    """Knows no CAPA, and is not amused."""
    peer.say(b"+OK ready\r\n")
    for line in iter(peer.line, b""):
        if line == b"CAPA":
            return
        peer.say(b"+OK\r\n")


def _knows_none(peer: Peer) -> None:
    peer.say(b"+OK ready\r\n")
    for line in iter(peer.line, b""):
        peer.say(b"-ERR what?\r\n" if line == b"CAPA" else b"+OK\r\n")


def _endless(peer: Peer) -> None:
    peer.say(b"+OK ready\r\n")
    for line in iter(peer.line, b""):
        peer.say(b"+OK\r\n")
        while line == b"CAPA":
            peer.say(b"PIPELINING\r\n" * 1000)


@pytest.mark.parametrize("play", [_refuses, _knows_none, _endless])
def test_a_backend_that_is_odd_about_capa_is_served_as_ever(tmp_path: Path, play: Play) -> None:
    """It closes, refuses or never ends: sessions go on, one reply after the other, and it is not asked again soon."""

    def careful(peer: Peer) -> None:
        try:
            play(peer)
        except AssertionError:
            pass  # the proxy has gone

    port = free_port()
    with ScriptedBackend(careful) as backend, Proxy(tmp_path, _site(backend.port, port)) as proxy:
        assert _log_in(port) == b"+OK"
        wait_until(lambda: backend.received.count(b"") >= 1, "the question is over")
        connections = backend.connections
        assert connections == 2
        for _ in range(5):
            assert _log_in(port) == b"+OK"
        assert backend.connections == connections + 5
        assert _known(proxy)["capabilities"] == ""
        assert proxy.log("session_bug") == []


def test_a_backend_that_does_not_keep_to_it(tmp_path: Path) -> None:
    """It announces PIPELINING and drops what stands after USER: that login is told to come again, the log says so
    once, and the next ones get one reply after the other, in every worker. With `on` it is believed for ever.
    """
    store = Store([b"PIPELINING"], forgets=True)
    port = free_port()
    with (
        ScriptedBackend(store.play) as backend,
        Proxy(tmp_path, _site(backend.port, port, "logintimeout 1")) as proxy,
    ):
        assert _log_in(port) == b"+OK"
        wait_until(lambda: _known(proxy).get("heard"), "the backend has answered")
        time.sleep(patient(1.1))
        assert _log_in(port) == TRY_LATER
        (told,) = proxy.log("not_pipelined")
        assert told.fields["backend"] == "b1"
        assert told.fields["reason"] == "no answer in time"
        time.sleep(patient(1.1))
        for _ in range(10):
            assert _log_in(port) == b"+OK"
        assert all(pieces[:2] == ONE_BY_ONE for pieces in store.logins()[2:])
        assert len(proxy.log("not_pipelined")) == 1
        assert "# pipelining: not before " in proxy.said("backend show b1").lines[-1]
        proxy.said("backend conf b1 pipelining on")
        assert [_log_in(port) for _ in range(2)] == [TRY_LATER] * 2
        assert len(proxy.log("not_pipelined")) == 1


def test_a_round_trip_is_saved(tmp_path: Path) -> None:
    """A backend that is 20 ms away, and a client that takes as long for each line: from PASS to the answer the client
    waits 15 ms less, in the median of 15 logins each way, taken by turns.
    """
    store = Store([b"PIPELINING"], delay=ROUND_TRIP)
    port = free_port()
    waited: dict[str, list[float]] = {"off": [], "on": []}
    with ScriptedBackend(store.play) as backend, Proxy(tmp_path, _site(backend.port, port)) as proxy:
        for _ in range(15):
            for way, seconds in waited.items():
                proxy.said(f"backend conf b1 pipelining {way}")
                with PopClient(port) as client:
                    client.greeted()
                    time.sleep(ROUND_TRIP)
                    client.ask("USER ann")
                    time.sleep(ROUND_TRIP)
                    began = time.monotonic()
                    assert client.ask("PASS secret") == b"+OK"
                    seconds.append(time.monotonic() - began)
    saved = statistics.median(waited["off"]) - statistics.median(waited["on"])
    assert saved >= 0.75 * ROUND_TRIP, waited
    assert statistics.median(waited["on"]) >= 2 * ROUND_TRIP, "the backend is not so far away"
