"""A worker that cannot reach the server of its cluster, or has too much to say to it, on a loop of its own."""

import asyncio
from collections import Counter
from typing import Any

from popular.proxy.session.limits.cluster import Cluster, Lease
from popular.proxy.session.limits.cluster_server import AGAIN_SECONDS, MOST_AT_ONCE
from supervisor.system import Clock
from tests.system.site import free_port


class Worker:
    """What a cluster needs of one."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = Clock()
        self.counters = self
        self.lost = 0
        self.said: Counter[str] = Counter()
        self.reason: object = None

    def count(self, _counter: str, *, amount: int) -> None:
        self.lost += amount

    def log(self, message: Any, *_session: str, **fields: object) -> None:
        self.said[message.name] += 1
        self.reason = fields.get("reason")


def test_it_is_told_once_that_the_server_is_away() -> None:
    """By the gauge, too, as long as it is, whether a session is there or none; nothing is renewed for nobody."""

    async def alone() -> tuple[int, int, bool]:
        worker: Any = Worker()
        cluster = Cluster(worker, f"redis://127.0.0.1:{free_port()}/0", "", proxy="p")
        answered = asyncio.Event()
        cluster.take_lease(0, Lease("sid", "default", "joe", sessions=1, delay=0), lambda _hindrance: answered.set())
        await answered.wait()
        assert cluster._renewing is not None
        cluster._renewing.cancel()
        cluster._renew_all()
        cluster.leave(0)
        await asyncio.gather(*cluster._tasks)
        for _ in range(3):
            worker.clock.now += AGAIN_SECONDS
            assert await cluster.news("", 1) is None
        return worker.lost, worker.said["cluster_lost"], cluster._renewing is None

    assert asyncio.run(alone()) == (1, 1, True)


def test_a_cluster_that_nobody_uses_any_more_is_closed() -> None:
    """After the last service: what was begun is heard to its end, nothing is renewed, and the gauge does not stay."""

    async def closed() -> tuple[int, bool]:
        worker: Any = Worker()
        cluster = Cluster(worker, f"redis://127.0.0.1:{free_port()}/0", "", proxy="p")
        cluster.holders += 2
        answered = asyncio.Event()
        cluster.take_lease(0, Lease("sid", "default", "joe", sessions=1, delay=0), lambda _hindrance: answered.set())
        await answered.wait()
        assert worker.lost == 1
        cluster.release()
        await asyncio.sleep(0)
        assert worker.lost == 1, "one still uses it"
        cluster.release()
        while worker.lost:
            await asyncio.sleep(0.001)
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return worker.lost, cluster._renewing is None

    assert asyncio.run(closed()) == (0, True)


class SlowServer:
    """Says +OK to whatever it is told, in its time, and counts who is connected, and how many were at once."""

    def __init__(self, seconds: float = 0.001) -> None:
        self._seconds = seconds
        self.connected = 0
        self.most = 0
        self.said: Counter[bytes] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        self.most = max(self.most, self.connected)
        try:
            while head := await reader.readline():
                words = []
                for _ in range(int(head[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                self.said[words[0]] += 1
                await asyncio.sleep(self._seconds)
                writer.write(b"+OK\r\n")
        finally:
            self.connected -= 1
            writer.close()


def test_a_flood_of_news_is_no_reason_to_think_that_the_server_is_away() -> None:
    """Else whoever sends enough wrong passwords at once has each proxy count alone, and is let in as often as there are
    proxies.
    """

    async def flooded() -> tuple[int, int, int]:
        worker: Any = Worker()
        slow = SlowServer()
        server = await asyncio.start_server(slow.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        cluster = Cluster(worker, f"redis://127.0.0.1:{port}/0", "", proxy="p")
        for number in range(300):
            cluster.tell("failed", user=f"joe{number}")
        await asyncio.gather(*cluster._tasks)
        await cluster._close()
        server.close()
        return slow.said[b"EVALSHA"], slow.most, worker.lost

    said, most, lost = asyncio.run(flooded())
    assert (said, lost) == (300, 0)
    # A busy machine gives some up, which are there still when the next ones come; without a bound there are 300.
    assert most <= 2 * MOST_AT_ONCE
