"""Kept connections that vanish without a word, as when a firewall forgets them: the database is well, and is asked. One
that is slow is none of them, and is asked once.
"""

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from popular.pdm import mysql
from popular.pdm.contract import Authenticated, ModuleFailed, Question, Secret
from popular.pdm.libpdm_ldap import Ldap
from popular.pdm.libpdm_redis import open_module as redis_module
from popular.pdm.sqlquery import Query
from supervisor.system import IP_MINTTL
from tests.databases.servers import PASSWORD, SERVER_SECRET, Mariadb, RedisServer, Server, Slapd
from tests.patience import patient
from tests.system.wire import LOOPBACK

CONNECTIONS = 4
SLOW = "SELECT username, SLEEP(0.05) FROM mailbox WHERE username = :user"


class ForgetfulWay:
    """Forwards to a port, until something becomes of the connections that there are: what they say then is swallowed
    (`forget`, and `hold` until `go_on`), or does not even arrive (`drop`).
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        self.swallowed = b""
        self.accepted = 0
        self._dropped: list[socket.socket] = []
        self._held: frozenset[socket.socket] = frozenset()
        self._others: dict[socket.socket, socket.socket | None] = {}
        """The other end of each connection; None: forgotten."""
        self._ended, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """The connections that there are now."""
        self._others = dict.fromkeys(self._others)

    def drop(self) -> None:
        """No packet of the connections that there are now arrives: they would have to come from no distance at all."""
        self._dropped = list(self._others)
        for end in self._dropped:
            end.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 255)

    def forget_dropped(self) -> None:
        """Packets of those arrive again; what they say is swallowed."""
        self._others |= dict.fromkeys(end for end in self._dropped if end in self._others)
        for end in self._dropped:
            if end.fileno() >= 0:
                end.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 0)

    def hold(self) -> None:
        """What is said on the connections that there are now arrives, and is not answered."""
        self._held = frozenset(self._others)

    def go_on(self) -> None:
        """What is said from now on is answered."""
        self._held = frozenset()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._ended, self._listening, *self._others], [], [], 0.05)
            if self._ended in ready:
                return
            if self._listening in ready:
                self.accepted += 1
                ours, theirs = self._listening.accept()[0], socket.create_connection((LOOPBACK, self._to))
                self._others |= {ours: theirs, theirs: ours}
            for end in ready:
                if end in self._others:
                    self._carry(end)

    def _carry(self, end: socket.socket) -> None:
        other = self._others[end]
        octets = b""
        with contextlib.suppress(OSError):  # who has not been heard for long has been given up
            octets = end.recv(1 << 16)
        if other is None or (octets and end in self._held):
            self.swallowed += octets
        elif octets:
            other.sendall(octets)
        for one in (end, other):
            if one is not None and not octets:
                del self._others[one]
                one.close()

    def close(self) -> None:
        """Ends all of it."""
        self._end.close()
        self._thread.join(patient(5))
        for one in (self._ended, self._listening, *self._others):
            one.close()


@contextlib.contextmanager
def behind(server: Server) -> Iterator[ForgetfulWay]:
    """Such a way to a server."""
    way = ForgetfulWay(server.port)
    try:
        yield way
    finally:
        way.close()


class AskedDirectory:
    """A directory behind such a way, and so many threads that ask it."""

    def __init__(self, server: Slapd, way: ForgetfulWay, threads: ThreadPoolExecutor) -> None:
        url, *words = server.arguments()
        self._module = Ldap("m", [url.replace(str(server.port), str(way.port)), *words])
        self._threads = threads
        self._together = threading.Barrier(CONNECTIONS)

    def _check(self) -> bool:
        question = Question("192.0.2.1", "POP3", "default", "joe", Secret(PASSWORD.encode()), "v")
        return isinstance(self._module.check(question), Authenticated)

    def once(self) -> bool:
        """Whether joe comes in; by any of the threads."""
        return self._threads.submit(self._check).result(patient(10))

    def by_each(self) -> bool:
        """Whether he comes in by each of them, all at once."""

        def check(_number: int) -> bool:
            self._together.wait(patient(10))
            return self._check()

        return all(self._threads.map(check, range(CONNECTIONS)))


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd() as started:
        yield started


@contextlib.contextmanager
def directory(slapd: Slapd) -> Iterator[tuple[AskedDirectory, ForgetfulWay]]:
    """One to which each thread keeps a connection."""
    with behind(slapd) as way, ThreadPoolExecutor(CONNECTIONS) as threads:
        asked = AskedDirectory(slapd, way, threads)
        assert asked.by_each()
        yield asked, way


def test_a_directory_is_asked_again_and_not_once_for_each_connection(slapd: Slapd) -> None:
    """The first search waits until the connection is gone, and is then made on a new one; no other thread has to wait,
    or says a word on one from before.
    """
    with directory(slapd) as (asked, way):
        way.drop()
        assert asked.once()
        way.forget_dropped()
        assert asked.by_each()
        assert b"roomNumber" not in way.swallowed


def test_a_directory_that_is_slow_is_asked_once(slapd: Slapd) -> None:
    """Nothing is known of the user; and only the connection on which it was asked is made anew."""
    with directory(slapd) as (asked, way):
        way.hold()
        with pytest.raises(ModuleFailed, match="TIMEOUT"):
            asked.once()
        assert way.swallowed.count(b"roomNumber") == 1
        way.go_on()
        before = way.accepted
        assert asked.by_each()
        assert way.accepted - before == CONNECTIONS + 1, "one for each bind as the user, and one to search"


@pytest.fixture(scope="module")
def server() -> Iterator[Mariadb]:
    with Mariadb() as started:
        assert isinstance(started, Mariadb)
        yield started


@contextlib.asynccontextmanager
async def mariadb(way: ForgetfulWay) -> AsyncIterator[mysql.MysqlEngine]:
    """An engine with so many kept connections, which are forgotten then."""
    url = f"mysql://popular@{LOOPBACK}:{way.port}/mail"
    engine = mysql.MysqlEngine(url, Secret(SERVER_SECRET.encode()), Query(SLOW), connections=CONNECTIONS)
    await engine.open()
    try:
        await asyncio.gather(*(engine.rows({"user": "joe"}, 2) for _ in range(CONNECTIONS)))
        way.forget()
        yield engine
    finally:
        await engine.close()


@pytest.mark.parametrize("fresh_seconds", [0.0, 3600.0])
def test_mariadb_is_asked_on_a_connection_that_is_there(
    server: Mariadb, monkeypatch: pytest.MonkeyPatch, fresh_seconds: float
) -> None:
    """One that stood unused is looked at first. One that was used just now is believed once: who has it gives up, and
    then none is believed any more.
    """
    monkeypatch.setattr(mysql, "_FRESH_SECONDS", fresh_seconds)

    async def dialogue(way: ForgetfulWay) -> None:
        async with mariadb(way) as engine:
            if fresh_seconds:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(engine.rows({"user": "joe"}, 2), 1)
            for _ in range(CONNECTIONS):
                assert len(await asyncio.wait_for(engine.rows({"user": "joe"}, 2), patient(5))) == 1

    with behind(server) as way:
        asyncio.run(dialogue(way))
        assert way.swallowed.count(b"SLEEP") == bool(fresh_seconds)


@contextlib.contextmanager
def _in_redis() -> Iterator[tuple[Callable[[], object], ForgetfulWay]]:
    """What asks it of a user, who is there, by one kept connection."""
    with RedisServer() as started, behind(started) as way, asyncio.Runner() as runner:
        url, *words = started.arguments()
        module = redis_module("m", [url.replace(str(started.port), str(way.port)), *words, "connections", "1"])

        def asked() -> object:
            question = Question("192.0.2.1", "POP3", "default", "joe", Secret(PASSWORD.encode()), "v")
            return runner.run(asyncio.wait_for(module.check(question), patient(10)))

        runner.run(module.ready())
        assert isinstance(asked(), Authenticated)
        yield asked, way
        runner.run(module.close())


def test_redis_is_asked_again_where_the_connection_has_vanished() -> None:
    """And once where it is slow: nothing is known of the user then, and the next one has a connection of his own."""
    with _in_redis() as (asked, way):
        way.drop()
        assert isinstance(asked(), Authenticated)
        way.hold()
        with pytest.raises(ModuleFailed, match="TimeoutError"):
            asked()
        assert way.swallowed.count(b"HGETALL") == 1
        way.go_on()
        assert isinstance(asked(), Authenticated)
