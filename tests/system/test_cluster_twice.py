"""What is sent twice to the server of a cluster, since its answer got lost: it counts as if it was sent once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from popular.pdm.contract import ModuleFailed
from popular.proxy import leases
from popular.proxy.cluster_order_store import ORDERS, arguments_of, tell
from popular.proxy.session.limits.cluster import Cluster, Lease
from popular.proxy.session.limits.contracts import Hindrance
from supervisor.operatorstate import OrderEntry
from tests.patience import patient
from tests.proxy.test_cluster_alone import Worker
from tests.system.site import LOOPBACK
from tests.system.test_cluster import RedisServer


class Losing:
    """Stands before a server, and loses one answer, with its connection."""

    def __init__(self, port: int, answer: bytes) -> None:
        self._port = port
        self._answer = answer
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_server = await asyncio.open_connection(LOOPBACK, self._port)

        async def ask() -> None:
            while said := await reader.read(65536):
                to_server.write(said)

            to_server.close()

        asking = asyncio.create_task(ask())
        try:
            while answer := await theirs.read(65536):
                if answer == self._answer and not self.lost:
                    self.lost += 1
                    break
                writer.write(answer)
        finally:
            asking.cancel()
            for end in (writer, to_server):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()


@asynccontextmanager
async def losing(server: RedisServer, answer: bytes) -> AsyncIterator[tuple[Losing, str]]:
    """It, and its URL."""
    one = Losing(server.port, answer)
    listener = await asyncio.start_server(one.serve, LOOPBACK, 0)
    yield one, f"redis://{LOOPBACK}:{listener.sockets[0].getsockname()[1]}/0"
    listener.close()


def test_a_lease_that_is_taken_twice_is_one(tmp_path: Path) -> None:
    """Who has no other session is not told that his mailbox is in use; a second session is."""

    async def taken(server: RedisServer) -> list[Hindrance | None]:
        worker: Any = Worker()
        async with losing(server, b":0\r\n") as (wire, url):
            cluster = Cluster(worker, url, str(server.secret), proxy="p")
            answers = []
            for row in range(2):
                answered: asyncio.Future[Hindrance | None] = worker.loop.create_future()
                cluster.take_lease(row, Lease(f"sid{row}", "default", "joe", sessions=1, delay=0), answered.set_result)
                answers.append(await asyncio.wait_for(answered, patient(10.0)))
            assert (wire.lost, worker.lost) == (1, 0)
            for row in range(2):
                cluster.leave(row)
            await asyncio.gather(*cluster._tasks)
            await cluster._close()
            return answers

    with RedisServer(tmp_path) as server:
        first, second = asyncio.run(taken(server))
        assert first is None
        assert second is not None
        with redis.Redis(port=server.port, password="hidden") as client:
            assert client.zcard(leases.keys_of("default", "joe")[0]) == 0


def test_a_move_that_is_told_twice_begins(tmp_path: Path) -> None:
    """It finds its own hold; that of another one keeps it out."""
    with RedisServer(tmp_path) as server:
        secret = str(server.secret)
        one, other = (OrderEntry("user hold", "default:joe", {"seconds": 30, "move": move}) for move in ("m1", "m2"))
        words = arguments_of([], "p", begins=[one])
        first, second = (tell(server.url, secret, words, by="p") for _ in range(2))
        assert (first.epoch, first.serial, second.serial) == (second.epoch, 1, 2)
        assert second.follows(first.known)
        with pytest.raises(ModuleFailed, match="another proxy of the cluster is moving him"):
            tell(server.url, secret, arguments_of([], "p", begins=[other]), by="p")
        with redis.Redis(port=server.port, password="hidden") as client:
            assert b'"m1"' in (client.hget(ORDERS, '["user hold", "default:joe"]') or b"")


def test_news_that_are_told_twice_have_one_mark(tmp_path: Path) -> None:
    """By it who reads them takes them once; two that were told have two."""
    with RedisServer(tmp_path) as server, leases.blocking(server.url, str(server.secret)) as client:
        words = leases.news_arguments({"by": "p", "what": leases.FAILED})
        for _ in range(2):
            client.eval(leases.ADD_NEWS, 1, leases.NEWS, *words)
        leases.add_news(client, {"by": "p", "what": leases.FAILED})
        marks = [fields[leases.NEWS_MARK] for _ident, fields in client.xrange(leases.NEWS)]
        assert marks[0] == marks[1] != marks[2]
