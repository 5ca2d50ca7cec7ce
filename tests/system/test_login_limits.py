"""Limits on logins, over real workers: who guesses is slow, nobody else notices, and no count is lost with a worker."""

import contextlib
import os
import random
import signal
import socket
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patient
from tests.system.scrape import scrape
from tests.system.site import LOOPBACK, PATIENCE, PopClient, Proxy, free_port, wait_until
from tests.system.wire import Conversation

WRONG = b"-ERR [AUTH] the user name or the password is wrong"
IN_USE = b"-ERR [IN-USE] the mailbox is in use by another session"
TOO_SOON = b"-ERR [LOGIN-DELAY] the mailbox was asked too soon after the last time"
LATER = b"-ERR [SYS/TEMP] the mailbox cannot be reached at the moment, please try again later"
GUESSER = "127.0.0.2"
LIMITS = ("authdelay", "guessrate", "usersessions", "networksessions", "vservsessions", "logindelay", "vservlogins")


class Site:
    """A proxy with users whose mailboxes all are empty."""

    def __init__(self, directory: Path) -> None:
        """Their passwords are their names."""
        users = directory / "users"
        users.write_text("".join(f"default:{name}:{{PLAIN}}{name}:b1:\n" for name in ("joe", "ann", "bob", "eve")))
        self.port = free_port()
        rc = [
            "backend conf b1 host 127.0.0.1 port 1 state fake",
            f"pdm add users passwd {users}",
            "set maxfailures 1000",
            "set maxcommands 0",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default state online",
        ]
        self.proxy = Proxy(directory, rc, workers=3, metrics="127.0.0.1:0")

    @contextlib.contextmanager
    def limits(self, **words: str) -> Iterator[None]:
        """These count, as long as it lasts; what was remembered before fades only by and by."""
        for name, word in words.items():
            self.proxy.said(f"set {name} {word}")
        try:
            yield
        finally:
            for name in words:
                self.proxy.said(f"set {name} {'off' if name in LIMITS else '15s'}")

    def client(self, source: str = LOOPBACK) -> Conversation:
        connection = socket.create_connection((LOOPBACK, self.port), PATIENCE, (source, 0))
        return Conversation(connection)

    def log_in(self, user: str, password: str = "", source: str = LOOPBACK) -> tuple[Conversation, bytes]:
        """Leaves the session open."""
        client = self.client(source)
        return client, client.log_in(user, password or user)

    def tries(self, user: str, password: str = "", source: str = LOOPBACK) -> bytes:
        client, reply = self.log_in(user, password, source)
        client.close()
        return reply

    def failures(self, client: str) -> int:
        return sum(entry.fields["client"] == client for entry in self.proxy.log("login_failed"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("limits"))
    with made.proxy:
        yield made


class Guessers:
    """Connections from one network that guess as fast as they can, each another password each time."""

    def __init__(self, site: Site, count: int, source: str) -> None:
        self._site = site
        self._source = source
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._guess, args=(number,), daemon=True) for number in range(count)]

    def _guess(self, number: int) -> None:
        tried = 0
        while not self._over.is_set():
            with contextlib.suppress(OSError, AssertionError), self._site.client(self._source) as client:
                client.connection.settimeout(patient(1.0))
                client.greeted()
                while not self._over.is_set():
                    tried += 1
                    client.say(b"USER joe\r\nPASS guess-%d-%d\r\n" % (number, tried))
                    client.line()
                    while not self._over.is_set():
                        with contextlib.suppress(TimeoutError):
                            client.line()
                            break

    def __enter__(self) -> "Guessers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)


def guess(site: Site, rate: int, seconds: float, source: str) -> tuple[int, list[float]]:
    """Twenty guess; meanwhile the same user and another log in from elsewhere: how many guesses were looked at, and how
    long those logins took.
    """
    took = []
    with site.limits(authdelay="1s", guessrate=str(rate)), Guessers(site, 20, source):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for user in ("joe", "ann"):
                began = time.monotonic()
                assert site.tries(user).startswith(b"+OK")
                took.append(time.monotonic() - began)
            time.sleep(0.05)
        return site.failures(source), took


def test_twenty_guessers_get_no_more_than_the_rate(site: Site) -> None:
    """In a moment no more than half of a minute's guesses, and what that leaves of the rest; the user whose
    password they guess notices nothing at home.
    """
    guesses, took = guess(site, 10, 1.5, GUESSER)

    assert 1 <= guesses <= 6, "five at once, and one each twelve seconds"
    assert statistics.median(took) < patient(0.1)


@pytest.mark.nightly
@pytest.mark.timeout(patient(120))
def test_twenty_guessers_for_a_minute(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """At most thirty guesses of theirs are looked at."""
    guesses, took = guess(site, 30, 60.0, "127.0.0.3")

    with capsys.disabled():
        print(f"\n{guesses} guesses in a minute; elsewhere a login took {1000 * statistics.median(took):.1f} ms")
    assert guesses <= 30
    assert statistics.median(took) < patient(0.1)


def test_the_reply_to_a_failure_is_held_back(site: Site) -> None:
    """For a second, and not much longer; a right password is answered at once."""
    source = "127.0.0.4"

    def took(password: str) -> tuple[bytes, float]:
        began = time.monotonic()
        return site.tries("ann", password, source), time.monotonic() - began

    with site.limits(authdelay="1s"):
        reply, seconds = took("wrong")
        assert reply == WRONG
        assert 0.99 <= seconds < 1.0 + patient(0.6)
        assert took("ann")[1] < patient(0.5)


def test_three_sessions_of_a_user_and_never_four(site: Site) -> None:
    """Over all workers, also when one is killed that has some: then so many are possible again, and no more."""
    with site.limits(usersessions="3"), contextlib.ExitStack() as open_ones:
        for _ in range(3):
            client, reply = site.log_in("bob")
            open_ones.callback(client.close)
            assert reply.startswith(b"+OK")
        assert site.tries("bob") == IN_USE
        assert site.tries("bob", "wrong") == WRONG, "nobody is told who does not know the password"
        assert site.tries("ann").startswith(b"+OK")

        rows = of_bob(site)
        victim = random.choice(rows)["pid"]
        lost = sum(row["pid"] == victim for row in rows)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in site.proxy.workers() and len(of_bob(site)) == 3 - lost, "they have ended")
        for _ in range(lost):
            client, reply = site.log_in("bob")
            open_ones.callback(client.close)
            assert reply.startswith(b"+OK"), reply
        assert site.tries("bob") == IN_USE
    site.proxy.wait_until_quiet()
    with site.limits(usersessions="1"):
        assert site.tries("bob").startswith(b"+OK"), "nothing is left of them"


def of_bob(site: Site) -> list[dict[str, Any]]:
    return [row for row in site.proxy.sessions() if row["user"] == "bob"]


def test_a_user_comes_again_after_his_delay(site: Site) -> None:
    """It is announced, and who comes too soon is told; only after the right password."""
    with site.limits(logindelay="1s"):
        with PopClient(site.port) as client:
            client.ask("CAPA")
            assert b"LOGIN-DELAY 1" in client.block()
        began = time.monotonic()
        assert site.tries("eve").startswith(b"+OK")
        assert site.tries("eve") == TOO_SOON
        assert site.tries("eve", "wrong") == WRONG
        wait_until(lambda: site.tries("eve").startswith(b"+OK"), "he may come again", patient(5))
        assert time.monotonic() - began >= 1.0


def test_a_reply_is_held_back_no_longer_than_the_login_may_take(site: Site) -> None:
    """authtimeout ends the delay, and the reply comes before it does."""
    site.proxy.said("set authtimeout 2s")
    try:
        with site.limits(authdelay="1m", authdelaymax="1m"):
            assert site.tries("joe", "wrong", "127.0.0.5") == WRONG, "it has come, and not the end of the session"
    finally:
        site.proxy.said("set authtimeout 2m")


def test_nobodys_turn_comes_sooner_at_the_end_of_authtimeout(site: Site) -> None:
    """Whose turn is after it does not guess at all: else each connection would be a guess more than the rate."""
    source = "127.0.0.21"
    site.proxy.said("set authtimeout 2s")
    try:
        with site.limits(guessrate="4", authdelaymax="1m"), contextlib.ExitStack() as stack:
            clients = [stack.enter_context(site.client(source)) for _ in range(4)]
            for number, client in enumerate(clients):
                client.say(b"USER joe\r\nPASS wrong-%d\r\n" % number)
            heard = [client.rest().count(b"[AUTH]") for client in clients]
        assert (sorted(heard), site.failures(source)) == ([0, 0, 1, 1], 2)
    finally:
        site.proxy.said("set authtimeout 2m")


def test_what_a_database_says_of_a_user_counts_for_him(site: Site, tmp_path: Path) -> None:
    """His sessions and his pause, though nothing is set."""
    database = tmp_path / "users.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as made, made:
        made.execute("CREATE TABLE users (name, password, sessions, login_delay)")
        made.execute("INSERT INTO users VALUES ('own', '{PLAIN}own', 1, NULL), ('slow', '{PLAIN}slow', NULL, 3600)")
    query = "SELECT password, sessions, login_delay FROM users WHERE name = :user"
    site.proxy.said(f'pdm add db sql sqlite:{database} query "{query}" backend b1')
    try:
        client, reply = site.log_in("own")
        assert reply.startswith(b"+OK")
        assert site.tries("own") == IN_USE
        client.close()
        wait_until(lambda: site.tries("own").startswith(b"+OK"), "there is room again")
        assert [site.tries("slow")[:4], site.tries("slow")] == [b"+OK ", TOO_SOON]
    finally:
        site.proxy.said("pdm del db")


@pytest.mark.parametrize("limit", ["networksessions", "vservsessions"])
def test_sessions_of_a_network_or_a_virtual_server(site: Site, limit: str) -> None:
    """The second one is asked to come again; from another network only where it is the server's limit."""
    with site.limits(**{limit: "1"}):
        client, reply = site.log_in("joe")
        assert reply.startswith(b"+OK")
        assert site.tries("ann") == LATER
        assert (site.tries("ann", source="127.0.0.9") == LATER) is (limit == "vservsessions")
        client.ask("QUIT")
        client.close()
        wait_until(lambda: site.tries("ann").startswith(b"+OK"), "there is room again")


def test_on_trial_nobody_is_refused(site: Site) -> None:
    """Who would have been is counted and listed."""
    before = reported(site.proxy)
    with site.limits(usersessions="report:1"):
        first, _ = site.log_in("joe")
        assert site.tries("joe").startswith(b"+OK")
        first.close()
    whom = {"limit": "usersessions", "user": "joe", "vserv": "v1", "network": f"{LOOPBACK}/32"}
    assert whom.items() <= site.proxy.json("report limits")[0].items()
    assert reported(site.proxy) == before + 1


def reported(proxy: Proxy) -> float:
    return scrape(proxy).value("popular_limit_reports_total", limit="usersessions")


def test_a_blocked_network_is_not_served(site: Site) -> None:
    """From the +OK on, by no worker, until it is unblocked or its time is over; others are."""
    network = "127.0.0.16/28"

    def served(source: str) -> bool:
        with site.client(source) as client:
            said = client.rest() if not client.connection.recv(1, socket.MSG_PEEK) else client.line()
        return said.startswith(b"+OK")

    for _ in range(3):
        site.proxy.said(f"block {network} until 1h")
        assert not any(served("127.0.0.17") for _ in range(12))
        assert served("127.0.0.32")
        assert [row["network"] for row in site.proxy.json("block list")] == [network]
        site.proxy.said(f"unblock {network}")
        assert all(served("127.0.0.17") for _ in range(12))
    site.proxy.said("block ::ffff:127.0.0.17")
    assert not served("127.0.0.17")
    site.proxy.said("unblock ::ffff:127.0.0.17")
    assert served("127.0.0.17")
    site.proxy.said("block 127.0.0.17 until 1s")
    assert not served("127.0.0.17")
    wait_until(lambda: served("127.0.0.17"), "its time is over", patient(5))
    assert site.proxy.json("block list") == []
    assert not site.proxy.control("unblock 127.0.0.17").ok
    assert "blocked" in site.proxy.endings()
