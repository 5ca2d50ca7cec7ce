"""Several backends of which some are sick, and logins from many networks: the users of others notice nothing."""

import itertools
import socket
import statistics
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.patience import patient
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, Proxy, free_port
from tests.system.wire import Peer, ScriptedBackend, commands, pop3_server


class Scale(NamedTuple):
    """How large, and for how long."""

    backends: int
    logins_a_second: int
    seconds: float
    delay: float
    """Seconds that the slow one takes."""


SHORT = Scale(6, 40, 1.5, delay=0.5)
"""Thirty, for two minutes, are in test_thirty_stores.py."""


class Sick:
    """Moods of the servers, by number: gone after the greeting, [SYS/TEMP], slow, or as it should be."""

    def __init__(self, delay: float) -> None:
        self.moods: dict[int, str] = {}
        self._delay = delay

    def play(self, number: int, peer: Peer) -> None:
        match self.moods.get(number):
            case "gone":
                return
            case "temp":
                peer.say(b"-ERR [SYS/TEMP] not now\r\n")
                return
            case "slow":
                time.sleep(self._delay)
            case _:
                pass
        pop3_server([])(peer)


class Came(NamedTuple):
    """One login: of which backend, when it began, how long it took, and what was said."""

    backend: int
    at: float
    seconds: float
    said: bytes


def log_in(port: int, number: int, source: str) -> Came:
    began = time.monotonic()
    with socket.create_connection((LOOPBACK, port), patient(30), (source, 0)) as client:
        lines = client.makefile("rb")
        lines.readline()
        client.sendall(b"USER u%d\r\nPASS secret\r\n" % number)
        lines.readline()
        said = lines.readline()
        client.sendall(b"QUIT\r\n")
        lines.read()
    return Came(number, began, time.monotonic() - began, said)


def storm(port: int, scale: Scale) -> list[Came]:
    """So many logins a second, of all backends by turns, each from one of 200 addresses."""
    came: list[Came] = []
    lock = threading.Lock()

    def one(number: int, place: int) -> None:
        found = log_in(port, number, f"127.0.1.{place % 200 + 1}")
        with lock:
            came.append(found)

    began = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        for place in itertools.count():
            wait = began + place / scale.logins_a_second - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            if time.monotonic() - began > scale.seconds:
                break
            pool.submit(one, place % scale.backends, place)
    return came


def report(name: str, came: list[Came]) -> str:
    seconds = sorted(one.seconds * 1000 for one in came)
    middle, late = statistics.median(seconds), seconds[len(seconds) * 99 // 100]
    return f"{name}: {len(seconds)} logins, median {middle:.1f} ms, 99 % {late:.1f} ms"


def test_the_users_of_others_notice_nothing(tmp_path: Path) -> None:
    """One is gone, one says [SYS/TEMP], one is slow: the first two are found down and their users refused at once, and
    everybody else is let in all the time.
    """
    scale = SHORT
    port, sick = free_port(), Sick(scale.delay)
    users = tmp_path / "users"
    users.write_text("".join(f"n:u{number}:{{PLAIN}}secret:b{number}:x\n" for number in range(scale.backends)))
    users.chmod(0o600)
    servers = [ScriptedBackend(partial(sick.play, number)) for number in range(scale.backends)]
    for server in servers:
        server.__enter__()
    try:
        lines = [
            *(f"backend conf b{n} host {LOOPBACK} port {one.port} state online" for n, one in enumerate(servers)),
            f"pdm add users passwd {users}",
            f"vserv conf v iface {LOOPBACK} port {port} namespace n state online",
        ]
        with Proxy(tmp_path, lines, metrics=f"{LOOPBACK}:0") as proxy:
            well = storm(port, scale._replace(seconds=scale.seconds / 3))
            assert {one.said[:3] for one in well} == {b"+OK"}
            sick.moods = {0: "gone", 1: "temp", 2: "slow"}
            by_backend: dict[int, list[Came]] = defaultdict(list)
            for one in storm(port, scale):
                by_backend[one.backend].append(one)
            healthy = [one for number in range(3, scale.backends) for one in by_backend[number]]
            assert {one.said[:3] for one in healthy} == {b"+OK"}
            assert {one.said[:3] for one in by_backend[2]} == {b"+OK"}
            down = {entry.fields["backend"] for entry in proxy.log("backend_down")}
            assert down == {"b0", "b1"}
            for number in (0, 1):
                failed = [one for one in proxy.log("backend_failed") if one.fields["backend"] == f"b{number}"]
                assert failed
                assert {one.said[:15] for one in by_backend[number]} == {b"-ERR [SYS/TEMP]"}
                assert scrape(proxy).value("popular_backend_failures_total", backend=f"b{number}", reason="down") > 0
            print(report("all well", well), report("others, while three are sick", healthy), sep="\n")
            print(report("those that are down", [*by_backend[0], *by_backend[1]]))
    finally:
        for server in servers:
            server.__exit__(AssertionError)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"-ERR [REFERRAL/ann@10.9.9.9:110] moved", ""),
        (b"-ERR [REFERRAL/ann@127.0.0.77:110] moved", ""),
        (b"-ERR [SYS/TEMP] the index is damaged", ""),
        (b"-ERR [AUTH] account disabled", "login master masteruser boss mastersecret {secret}"),
    ],
)
def test_one_user_who_is_not_let_in_closes_a_store_for_nobody(tmp_path: Path, said: bytes, words: str) -> None:
    """Though he comes by phone, from home and from his office. Several who are not let in with our password do."""
    port, secret, refused = free_port(), tmp_path / "master", {b"ann", b"ann*boss"}
    secret.write_text("m4ster\n")
    users = tmp_path / "users"
    names = ("ann", "joe", *(f"u{one}" for one in range(9)))
    users.write_text("".join(f"default:{name}:{{PLAIN}}secret:store1:{name}\n" for name in names))
    for file in (secret, users):
        file.chmod(0o600)

    def play(peer: Peer) -> None:
        peer.say(b"+OK ready\r\n")
        user = b""
        for line in commands(peer):
            verb, _, argument = line.partition(b" ")
            user = argument if verb == b"USER" else user
            peer.say(said + b"\r\n" if verb == b"PASS" and user in refused else b"+OK\r\n")
            if verb == b"QUIT":
                return

    def comes_in(user: str, place: int) -> bool:
        with socket.create_connection((LOOPBACK, port), patient(5), (f"127.0.1.{place}", 0)) as connection:
            client = Peer(connection)
            client.line()
            client.say(f"USER {user}\r\nPASS secret\r\n".encode())
            client.line()
            answer = client.line()
            client.say(b"QUIT\r\n")
            client.rest()
        assert answer.startswith((b"+OK", b"-ERR [SYS/TEMP]"))
        return answer.startswith(b"+OK")

    with ScriptedBackend(play) as store:
        lines = [
            "set workers 1",
            f"backend conf store1 host {LOOPBACK} port {store.port} state online {words.format(secret=secret)}",
            "backend conf store2 host 127.0.0.77 state fake",
            f"pdm add users passwd {users}",
            f"vserv conf v iface {LOOPBACK} port {port} state online",
        ]
        with Proxy(tmp_path, lines) as proxy:
            assert not any(comes_in("ann", place) for place in range(1, 7))
            assert len(proxy.log("backend_failed")) == 6
            assert all(comes_in("joe", place) for place in range(1, 4))
            assert not proxy.log("backend_down")
            if "REFERRAL" not in said.decode():
                refused |= {b"u%d%s" % (one, b"*boss" * bool(words)) for one in range(9)}
                assert not any(comes_in(f"u{one}", 10 + one) for one in range(9))
                assert proxy.log("backend_down")
