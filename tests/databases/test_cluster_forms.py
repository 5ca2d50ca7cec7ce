"""Proxies that count together by sentinels, and by a cluster of Redis: what scripts and lists come to in each form."""

import asyncio
import socket
from typing import Any

import pytest

from popular.proxy import leases
from popular.proxy.session.limits.cluster import Cluster, Lease
from popular.proxy.session.limits.contracts import Hindrance
from tests.databases.servers import SERVER_SECRET, RedisServer
from tests.databases.test_redis_forms import RedisBehindSentinel, RedisCluster
from tests.proxy.test_cluster_alone import Worker
from tests.proxy.test_cluster_listing import Person
from tests.system.wire import LOOPBACK

pytestmark = pytest.mark.nightly


def url_of(server: RedisServer) -> str:
    if isinstance(server, RedisBehindSentinel):
        silent = server.others.enter_context(socket.create_server((LOOPBACK, 0))).getsockname()[1]
        return f"redis+sentinel://{LOOPBACK}:{silent},{LOOPBACK}:{server.sentinel}/{server.master}"
    if isinstance(server, RedisCluster):
        return f"redis+cluster://{LOOPBACK}:{server.port}"
    return f"redis://{LOOPBACK}:{server.port}/0"


@pytest.mark.parametrize("form", [RedisServer, RedisBehindSentinel, RedisCluster])
def test_a_limit_in_each_form(form: type[RedisServer]) -> None:
    """One session of a user, wherever; it is listed, and gone when it is over; also where one sentinel is silent."""
    with form() as server:
        secret = server.home / "cluster.secret"
        secret.write_text(f"{SERVER_SECRET}\n")
        url = url_of(server)
        leases.check_url(url)

        async def two_at_once() -> list[Hindrance | None]:
            worker: Any = Worker()
            worker.sessions = {0: Person("sid0")}
            cluster = Cluster(worker, url, str(secret), proxy="p")
            cluster.holders += 1
            said: list[Hindrance | None] = []
            for row in range(2):
                answered = asyncio.Event()

                def hear(hindrance: Hindrance | None, answered: asyncio.Event = answered) -> None:
                    said.append(hindrance)
                    answered.set()

                cluster.take_lease(row, Lease(f"sid{row}", "default", "joe", sessions=1, delay=0), hear)
                await answered.wait()
            await asyncio.gather(*cluster._tasks)
            await cluster.listing.look()
            listed = await asyncio.to_thread(leases.read_sessions, url, str(secret))
            assert [row["sid"] for row in listed] == ["sid0"]
            cluster.leave(0)
            worker.sessions.clear()
            await cluster.listing.finish()
            cluster.release()
            await asyncio.sleep(0.01)
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
            assert (worker.lost, dict(worker.said)) == (0, {})
            return said

        first, second = asyncio.run(two_at_once())
        assert first is None
        assert second is not None
        assert leases.read_sessions(url, str(secret)) == []
