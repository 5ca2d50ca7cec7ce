"""Backends that are checked: the canary's dialogue with small servers, and a proxy that sees one fall and come back."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from popular.proxy.checks.canary import Patience, check
from popular.proxy.checks.drift import undelivered
from popular.proxy.settings.backend import Backend
from popular.proxy.settings.kinds import ResolvedHost
from popular.proxy.settings.secretfiles import KeptSecret
from tests.patience import patient
from tests.proxy.session_rules import backend as any_backend
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until
from tests.system.wire import Peer, ScriptedBackend, commands, pop3_server

SECRET = b"correct-horse"
PATIENT = Patience(patient(5), patient(5))


REFUSALS = {
    "sick": b"-ERR [SYS/TEMP] not now\r\n",
    "busy": b"-ERR [IN-USE] somebody has it\r\n",
    "curt": b"-ERR no\r\n",
}
"""What a store says to every password, by its mood."""


class Store:
    """A POP3 server with moods: it is well, refuses every login, or says nothing at all."""

    def __init__(self) -> None:
        self.mood = "well"
        self.said: list[bytes] = []
        self._over = threading.Event()

    def release(self) -> None:
        """Those that wait for it in vain need no longer."""
        self._over.set()

    def play(self, peer: Peer) -> None:
        if self.mood == "silent":
            self._over.wait(patient(60))
            return
        peer.say(b"+OK ready\r\n")
        logged_in = False
        for line in commands(peer):
            self.said.append(line)
            verb, _, argument = line.partition(b" ")
            match verb:
                case b"CAPA":
                    peer.say(b"+OK\r\nUIDL\r\n" + (b"EXPIRE NEVER\r\n" if logged_in else b"TOP\r\n") + b".\r\n")
                case b"USER":
                    peer.say(b"+OK\r\n")
                case b"PASS" if self.mood in REFUSALS:
                    peer.say(REFUSALS[self.mood])
                case b"PASS" if argument == SECRET:
                    logged_in = True
                    peer.say(b"+OK\r\n")
                case b"PASS":
                    peer.say(b"-ERR [AUTH] no, not " + argument + b"\r\n")
                case b"STAT" if self.mood == "late":
                    peer.say(b"-ERR unknown command: PASS " + SECRET + b"\r\n")
                case b"STAT":
                    peer.say(b"+OK 0 0\r\n")
                case b"QUIT":
                    peer.say(b"+OK\r\n")
                    return


@contextmanager
def served() -> Iterator[tuple[Store, ScriptedBackend]]:
    store = Store()
    with ScriptedBackend(store.play) as server:
        try:
            yield store, server
        finally:
            store.release()


def backend(port: int, health: str, secret: bytes = SECRET, *, login: str = "user") -> Backend:
    kept = KeptSecret("/file", secret)
    words = {"host": ResolvedHost(LOOPBACK, LOOPBACK), "port": port, "health": health, "login": login}
    master = {"masteruser": "us", "mastersecret": kept} if login == "master" else {}
    return any_backend("pop").with_parameters(words | {"healthuser": "canary", "healthsecret": kept} | master)


def test_each_check_says_as_much_as_it_needs() -> None:
    """And of the last one the capabilities before and after the login."""
    spoken = {
        "connect": [],
        "greeting": [b"QUIT"],
        "capa": [b"CAPA", b"QUIT"],
        "login": [b"CAPA", b"USER canary", b"PASS " + SECRET, b"CAPA", b"STAT", b"QUIT"],
    }
    with served() as (store, server):
        for health, lines in spoken.items():
            store.said.clear()
            found = check(backend(server.port, health), None, PATIENT)
            assert found.why == ""
            assert store.said == lines
    assert (found.before, found.after) == (("UIDL", "TOP"), ("UIDL", "EXPIRE NEVER"))


@pytest.mark.parametrize(
    ("mood", "health", "secret", "why"),
    [
        ("sick", "login", SECRET, "healthuser is refused while sending the password: -ERR [SYS/TEMP] not now"),
        ("late", "login", SECRET, "no proper reply to STAT: (not shown: a secret is in it)"),
        ("silent", "greeting", SECRET, "no answer within 0.3 s"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret(mood: str, health: str, secret: bytes, why: str) -> None:
    """Also where the backend repeats it."""
    with served() as (store, server):
        store.mood = mood
        patience = PATIENT._replace(answer=0.3) if mood == "silent" else PATIENT
        found = check(backend(server.port, health, secret), None, patience).why
    assert found.startswith(why)
    assert secret.decode() not in found


@pytest.mark.parametrize(
    ("mood", "secret", "how"),
    [
        ("well", b"wrong-secret", "-ERR (not shown: the"),
        ("busy", SECRET, "-ERR [IN-USE] somebody has it"),
        ("curt", SECRET, "-ERR no"),
    ],
)
def test_who_refuses_the_mailbox_of_the_check_alone_is_well(mood: str, secret: bytes, how: str) -> None:
    """A wrong password or a mailbox in use is no fault of the backend."""
    with served() as (store, server):
        store.mood = mood
        found = check(backend(server.port, "login", secret), None, PATIENT)
    assert found.refused.startswith(f"healthuser is refused while sending the password: {how}")
    assert (found.why, found.before, found.after) == ("", ("UIDL", "TOP"), None)
    assert secret.decode() not in found.refused


def test_who_refuses_our_master_password_is_not_well() -> None:
    """Nobody is let in then."""
    with served() as (store, server):
        store.mood = "curt"
        found = check(backend(server.port, "login", login="master"), None, PATIENT)
    assert (found.why, found.refused) == ("healthuser is refused while sending the password: -ERR no", "")


def test_one_that_is_not_there_is_down() -> None:
    """The kernel says why."""
    assert check(backend(free_port(), "connect"), None, PATIENT).why == "Connection refused"


def test_a_storage_server_does_not_greet() -> None:
    """Who does is a POP3 server: `prot XPOP` is wrong, and its greeting would be taken for the mailbox."""

    def greet(peer: Peer) -> None:
        peer.say(b"+OK ready\r\n")
        peer.rest()

    def wait(peer: Peer) -> None:
        peer.rest()

    for play, why in ((greet, "it greets (is it a POP3 server?); it said: +OK ready"), (wait, "")):
        with ScriptedBackend(play) as server:
            store = backend(server.port, "connect").with_parameters({"prot": "XPOP"})
            assert check(store, None, PATIENT).why == why


def test_one_that_is_slow_but_answers_is_well() -> None:
    """What is too long is a silence, and not all of its answers together; for those there is a time too."""

    def slow(peer: Peer) -> None:
        time.sleep(0.2)
        peer.say(b"+OK ready\r\n")
        for _line in commands(peer):
            time.sleep(0.2)
            peer.say(b"+OK\r\n")

    with ScriptedBackend(slow) as server:
        assert check(backend(server.port, "greeting"), None, PATIENT._replace(answer=patient(0.3))).why == ""
        assert check(backend(server.port, "greeting"), None, Patience(0.3, 0.3)).why == "not done within 0.3 s"


def test_what_a_backend_lacks_counts_behind_the_login() -> None:
    """Only if the check did not come so far, in front of it."""
    announced = (("v", frozenset({"TOP", "UIDL"})), ("w", frozenset({"UIDL"})))
    assert undelivered(announced, ("TOP", "UIDL"), ("UIDL",)) == {("v", "TOP")}
    assert undelivered(announced, ("UIDL 3", "top"), None) == frozenset()
    assert undelivered(announced, (), None) == {("v", "TOP UIDL"), ("w", "UIDL")}


def children(proxy: Proxy) -> set[int]:
    """The processes that the master has started."""
    return set(map(int, Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()))


def log_in(port: int) -> bytes:
    with PopClient(port) as client:
        client.greeted()
        return client.log_in("joe", SECRET.decode())


def capabilities(port: int) -> list[str]:
    """What a client is told before its login."""
    with PopClient(port) as client:
        client.greeted()
        client.connection.sendall(b"CAPA\r\n")
        lines = iter(client.line, b".")
        return [line.decode() for line in lines]


def test_one_falls_and_comes_back(tmp_path: Path) -> None:
    """Within two intervals, by the check alone: its users are refused at once, everybody sees why, and when it is well
    again it is up; a checker that is killed is followed by another one, and the secret is in no log.
    """
    port = free_port()
    users, secret = tmp_path / "users", tmp_path / "secret"
    users.write_text(f"n:joe:{{PLAIN}}{SECRET.decode()}:store:x\n")
    secret.write_bytes(SECRET + b"\n")
    for file in (users, secret):
        file.chmod(0o600)
    with served() as (store, server):
        lines = [
            f"backend conf store host {LOOPBACK} port {server.port} prot POP3 state online pipelining off slowstart 1s",
            f"pdm add users passwd {users}",
            f"vserv conf v iface {LOOPBACK} port {port} namespace n state online",
        ]
        with Proxy(tmp_path, lines, metrics=f"{LOOPBACK}:0") as proxy:
            refused = proxy.control("backend conf store health login healthuser canary").text
            assert "say `healthsecret FILE` too" in refused
            assert store.said == []
            others = children(proxy)
            proxy.said(f"backend conf store health login healthuser canary healthsecret {secret} healthinterval 1s")
            wait_until(lambda: b"STAT" in store.said, "it is checked")
            assert log_in(port).startswith(b"+OK")
            wait_until(lambda: proxy.log("capabilities_differ"), "a capability that is missing is told")
            assert proxy.log("capabilities_differ")[0].fields["missing"] == "PIPELINING TOP"
            assert scrape(proxy).value("popular_backend_capabilities_lacking", backend="store") == 1
            shown = proxy.json("backend show store")
            assert shown["lacks"] == ["v: PIPELINING TOP"]
            assert "UIDL" in shown["announces"], "the check has told the workers, which need not ask"
            proxy.said("vserv conf v capafrom backends")
            wait_until(lambda: "PIPELINING" not in capabilities(port), "nothing is announced that it lacks")
            wait_until(lambda: proxy.json("backend show store")["lacks"] == [], "so it lacks nothing any more")
            assert scrape(proxy).value("popular_backend_capabilities_lacking", backend="store") == 0

            store.mood = "sick"
            wait_until(lambda: proxy.log("backend_down"), "it is seen")
            (down,) = proxy.log("backend_down")
            assert (down.fields["backend"], down.fields["by"]) == ("store", "check")
            assert down.fields["reason"] == "healthuser is refused while sending the password: -ERR [SYS/TEMP] not now"
            assert proxy.json("backend show store")["condition"] == "down"
            wait_until(lambda: log_in(port).startswith(b"-ERR [SYS/TEMP]"), "refused at once")
            assert scrape(proxy).value("popular_backend_down_seconds", backend="store") > 0
            before = store.said.count(b"USER joe")
            assert log_in(port).startswith(b"-ERR [SYS/TEMP]")
            assert store.said.count(b"USER joe") == before

            wait_until(lambda: len(children(proxy) - others) == 1, "there is a checker, and no job")
            (checker,) = children(proxy) - others
            os.kill(checker, signal.SIGKILL)
            wait_until(lambda: proxy.log("helper_died"), "its death is told")
            store.mood = "well"
            wait_until(lambda: log_in(port) and proxy.log("backend_up"), "it is up again")
            assert log_in(port).startswith(b"+OK")
            assert scrape(proxy).value("popular_backend_down_seconds", backend="store") == 0

            wait_until(lambda: len(children(proxy) - others) == 1, "there is another one")
            (checker,) = children(proxy) - others
            proxy.said("backend conf store health off")
            assert checker not in children(proxy), "no checker is needed"
            assert SECRET.decode() not in proxy.logfile.read_text()


def test_a_wrong_password_of_the_check_takes_the_backend_from_nobody(tmp_path: Path) -> None:
    """It is told once when it begins and once when it ends, and stands in `backend show` and a metric meanwhile."""
    port = free_port()
    secret = tmp_path / "secret"
    secret.write_bytes(b"of last month\n")
    secret.chmod(0o600)
    check_it = (
        f"backend conf store health login healthuser canary healthsecret {secret} healthinterval 1s fall 1 rise 1"
    )
    with (
        served() as (store, server),
        Proxy(
            tmp_path,
            [
                f"backend conf store host {LOOPBACK} port {server.port} state online pipelining off slowstart 0",
                check_it,
                "pdm add all any store",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ],
            metrics=f"{LOOPBACK}:0",
        ) as proxy,
    ):
        wait_until(lambda: store.said.count(b"USER canary") > 2, "it is checked, more than once")
        (told,) = proxy.log("healthuser_refused")
        assert (told.fields["backend"], told.fields["user"]) == ("store", "canary")
        assert log_in(port).startswith(b"+OK")
        shown = proxy.json("backend show store")
        assert (shown["condition"], shown["healthuser_refused"]) == ("up", told.fields["reason"])
        assert any("# healthuser is refused" in line for line in proxy.said("backend show store").lines)
        assert scrape(proxy).value("popular_backend_healthuser_refused", backend="store") == 1
        store.mood = "sick"
        wait_until(lambda: proxy.log("backend_down"), "what is its own affair still counts")
        store.mood = "well"
        wait_until(lambda: proxy.log("backend_up"), "it is there")
        secret.write_bytes(SECRET + b"\n")
        proxy.said(f"backend conf store healthsecret {secret}")
        wait_until(lambda: proxy.log("healthuser_let_in"), "the check is let in")
        assert proxy.json("backend show store")["healthuser_refused"] == ""
        assert scrape(proxy).value("popular_backend_healthuser_refused", backend="store") == 0
        assert (len(proxy.log("healthuser_refused")), len(proxy.log("healthuser_let_in"))) == (1, 1)


@pytest.mark.nightly
def test_a_client_that_hangs_up_in_a_probe_keeps_nobody_out(tmp_path: Path) -> None:
    """The next one is the probe at once, though from the same network, and not when 15 s are over."""
    port = free_port()
    plays = iter([lambda _peer: None, lambda peer: peer.connection.recv(1), pop3_server([])])
    with (
        ScriptedBackend(lambda peer: next(plays)(peer)) as store,
        Proxy(
            tmp_path,
            [
                "set workers 1",
                "set breakernetworks 1",
                f"backend conf store host {LOOPBACK} port {store.port} state online pipelining off slowstart 0",
                "pdm add all any store",
                f"vserv conf v iface {LOOPBACK} port {port} state online",
            ],
        ) as proxy,
    ):
        assert log_in(port).startswith(b"-ERR [SYS/TEMP]")
        wait_until(lambda: proxy.log("backend_down"), "one failure of one network is enough here")
        connections = store.connections
        with PopClient(port) as client:
            client.greeted()
            time.sleep(5.5)
            client.connection.sendall(b"USER joe\r\nPASS secret\r\n")
            wait_until(lambda: store.connections > connections, "it is the probe")
        wait_until(lambda: not proxy.sessions(), "it has hung up")
        assert log_in(port).startswith(b"+OK")
