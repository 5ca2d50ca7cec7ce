"""Kept connections that vanish without a word, as when a firewall forgets them: the database is well, and is asked."""

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from popular.pdm import mysql
from popular.pdm.contract import Authenticated, Question, Secret
from popular.pdm.libpdm_ldap import Ldap
from popular.pdm.sqlquery import Query
from tests.databases.servers import PASSWORD, SERVER_SECRET, Mariadb, Server, Slapd
from tests.patience import patient
from tests.system.wire import LOOPBACK

CONNECTIONS = 4
SLOW = "SELECT username, SLEEP(0.05) FROM mailbox WHERE username = :user"


class ForgetfulWay:
    """Forwards to a port, until it forgets the connections that there are: what they say then is swallowed."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        self.swallowed = b""
        self._others: dict[socket.socket, socket.socket | None] = {}
        """The other end of each connection; None: forgotten."""
        self._ended, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """The connections that there are now."""
        self._others = dict.fromkeys(self._others)

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._ended, self._listening, *self._others], [], [], 0.05)
            if self._ended in ready:
                return
            if self._listening in ready:
                ours, theirs = self._listening.accept()[0], socket.create_connection((LOOPBACK, self._to))
                self._others |= {ours: theirs, theirs: ours}
            for end in ready:
                if end in self._others:
                    self._carry(end)

    def _carry(self, end: socket.socket) -> None:
        other = self._others[end]
        octets = end.recv(1 << 16)
        if other is None:
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


def test_a_directory_is_asked_again_and_not_once_for_each_connection() -> None:
    """The first search waits for its answer, and is then made on a new connection; no other thread has to wait."""
    question = Question("192.0.2.1", "POP3", "default", "joe", Secret(PASSWORD.encode()), "v")
    with Slapd() as server, behind(server) as way, ThreadPoolExecutor(CONNECTIONS) as threads:
        together = threading.Barrier(CONNECTIONS)
        module = Ldap("m", [server.arguments()[0].replace(str(server.port), str(way.port)), *server.arguments()[1:]])

        def check(_number: int) -> bool:
            together.wait(patient(10))
            return isinstance(module.check(question), Authenticated)

        assert all(threads.map(check, range(CONNECTIONS))), "so each thread keeps a connection"
        way.forget()
        assert isinstance(threads.submit(module.check, question).result(patient(10)), Authenticated)
        assert all(threads.map(check, range(CONNECTIONS)))
        assert way.swallowed.count(b"roomNumber") == 1


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
