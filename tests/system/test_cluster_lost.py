"""A server of the cluster that reads and does not write: a replica that was left behind, or one that is full."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis

from popular.proxy import leases
from popular.proxy.session.limits.cluster import Cluster, Lease
from popular.proxy.session.limits.cluster_server import AGAIN_SECONDS
from tests.proxy.test_cluster_alone import Worker
from tests.system.site import LOOPBACK, free_port
from tests.system.test_cluster import RedisServer


@pytest.mark.parametrize("is_full", [False, True])
def test_a_server_that_only_reads_is_lost_until_it_writes(tmp_path: Path, is_full: bool) -> None:
    """What can be read of it, four times a second, does not end that."""
    with RedisServer(tmp_path) as server, redis.Redis(LOOPBACK, server.port, password="hidden") as client:

        def write(does: bool) -> None:
            if is_full:
                client.config_set("maxmemory", "0" if does else "1")
            else:
                client.replicaof(*(("NO", "ONE") if does else (LOOPBACK, str(free_port()))))

        async def reads() -> None:
            worker: Any = Worker()
            cluster = Cluster(worker, server.url, str(server.secret), proxy="p")
            assert await cluster.news("", 1) is not None
            write(False)
            answered = asyncio.Event()
            cluster.take_lease(
                0, Lease("sid", "default", "joe", sessions=1, delay=0), lambda _hindrance: answered.set()
            )
            await answered.wait()
            assert await cluster.orders() is None  # a full server takes leases, whose script begins with a deletion
            for _ in range(3):
                worker.clock.now += AGAIN_SECONDS
                assert await cluster.news("", 1) is None
            assert (worker.lost, dict(worker.said)) == (1, {"cluster_lost": 1})
            write(True)
            worker.clock.now += AGAIN_SECONDS
            assert await cluster.news("", 1) is not None
            assert (worker.lost, dict(worker.said)) == (0, {"cluster_lost": 1, "cluster_back": 1})
            await cluster._close()

        asyncio.run(reads())


def test_news_that_not_all_have_read_stay_on_a_full_server(tmp_path: Path) -> None:
    """One more is refused; only a stream that is none, or one of the future, begins anew."""
    with RedisServer(tmp_path) as server, redis.Redis(LOOPBACK, server.port, password="hidden") as client:
        leases.add_news(client, {"by": "one"})
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.RedisError, match="maxmemory"):
            leases.add_news(client, {"by": "two"})
        client.config_set("maxmemory", "0")
        assert client.xlen(leases.NEWS) == 1
        client.set(leases.NEWS, "none")
        leases.add_news(client, {"by": "three"})
        assert client.xlen(leases.NEWS) == 1
