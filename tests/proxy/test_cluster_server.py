"""What a worker asks of the server of its cluster when that is slow, silent or at fault."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from redis import exceptions

from popular.pdm import redisclient
from popular.pdm.contract import ModuleFailed
from popular.proxy import leases
from popular.proxy.leases import RENEW_SECONDS
from popular.proxy.session.limits import cluster_server
from popular.proxy.session.limits.cluster import Cluster, Lease
from popular.proxy.session.limits.cluster_server import AGAIN_SECONDS, MOST_AT_ONCE, ClusterServer
from popular.proxy.session.limits.contracts import Hindrance
from tests.patience import patient, within
from tests.proxy.test_cluster_alone import SlowServer, Worker
from tests.system.wire import LOOPBACK, free_port


@asynccontextmanager
async def slow_server(seconds: float = 0.001) -> AsyncIterator[tuple[SlowServer, str]]:
    """It, and its URL."""
    slow = SlowServer(seconds)
    server = await asyncio.start_server(slow.serve, LOOPBACK, 0)
    yield slow, f"redis://{LOOPBACK}:{server.sockets[0].getsockname()[1]}/0"
    server.close()


def lease(number: int) -> Lease:
    return Lease(f"sid{number}", "default", f"joe{number}", sessions=1, delay=0)


async def take_leases(cluster: Cluster, count: int) -> list[Hindrance | None]:
    """So many users at once; what each is told."""
    answers: list[asyncio.Future[Hindrance | None]] = []
    for row in range(count):
        answers.append(asyncio.get_running_loop().create_future())
        cluster.take_lease(row, lease(row), answers[-1].set_result)
    return list(await asyncio.wait_for(asyncio.gather(*answers), patient(20.0)))


async def end(cluster: Cluster) -> None:
    """What is under way is given up."""
    for task in cluster._tasks:
        task.cancel()
    await asyncio.gather(*cluster._tasks, return_exceptions=True)
    await cluster._close()


def test_a_fault_of_ours_costs_a_login_no_more_than_a_server_that_is_away() -> None:
    """It is told as what it is, and the user is answered."""

    async def at_fault() -> tuple[object, int, dict[str, int]]:
        worker: Any = Worker()
        async with slow_server() as (_slow, url):
            server = ClusterServer(worker, url, "", proxy="p")

            async def question() -> int:
                raise TypeError("no such parameter")

            return await server.ask(question), worker.lost, dict(worker.said)

    assert asyncio.run(at_fault()) == (None, 1, {"session_bug": 1, "cluster_lost": 1})


def test_a_server_that_is_too_slow_for_so_many_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a turn for too long goes on alone, and that is told; else sessions end that nobody counts."""
    monkeypatch.setattr(cluster_server, "ASK_SECONDS", 0.2)

    async def crowded() -> tuple[list[Hindrance | None], int, object]:
        worker: Any = Worker()
        async with slow_server(0.1) as (_slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            answers = await take_leases(cluster, 5 * MOST_AT_ONCE)
            lost, reason = worker.lost, worker.reason
            await end(cluster)
            return answers, lost, reason

    assert asyncio.run(crowded()) == ([None] * 5 * MOST_AT_ONCE, 1, "TimeoutError")


def test_news_keep_no_login_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever sends enough wrong passwords at once has each proxy count alone."""
    monkeypatch.setattr(cluster_server, "ASK_SECONDS", patient(1.0))

    async def flooded() -> int:
        worker: Any = Worker()
        async with slow_server(patient(0.08)) as (_slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            for number in range(900):
                cluster.tell("failed", user=f"joe{number}")
            await asyncio.sleep(0)
            assert await take_leases(cluster, 1) == [None]
            lost = worker.lost
            await end(cluster)
            return lost

    assert asyncio.run(flooded()) == 0


def test_one_finds_out_whether_it_is_back() -> None:
    """Nobody else is kept waiting meanwhile; and it is back when something was written, not before."""

    async def asked() -> None:
        worker: Any = Worker()
        async with slow_server() as (slow, url):
            server = ClusterServer(worker, url, "", proxy="p")
            server.lose("said so")
            worker.clock.now += AGAIN_SECONDS
            answer = asyncio.get_running_loop().create_future()
            first = asyncio.create_task(server.ask(lambda: answer))
            await asyncio.sleep(0)
            assert await server.ask(server.client.ping) is None
            answer.set_result("PONG")
            assert (await first, worker.lost) == ("PONG", 0)
            assert (slow.said[b"EVALSHA"], slow.said[b"PING"]) == (1, 0)
            await server.close()

    asyncio.run(asked())


def test_leases_are_renewed_several_at_once() -> None:
    """So none ends because there are many; the next time is as long after the beginning as ever."""

    async def renewed() -> tuple[int, int, float]:
        worker: Any = Worker()
        async with slow_server(0.05) as (slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            for row in range(24):
                cluster._held[row] = lease(row)
            began = worker.loop.time()
            cluster._renew_all()
            await asyncio.gather(*cluster._tasks)
            assert cluster._renewing is not None
            pause = cluster._renewing.when() - began
            await end(cluster)
            return slow.said[b"EVALSHA"], slow.most, pause

    asked, at_once, pause = asyncio.run(renewed())
    assert asked == 24
    assert 4 < at_once <= MOST_AT_ONCE // 2
    assert RENEW_SECONDS <= pause < RENEW_SECONDS + 0.05


def test_a_command_waits_for_silent_sentinels_no_longer_than_for_a_server() -> None:
    """Each takes the connection, and says nothing; without a bound they took the time of twelve answers."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(socket.create_server((LOOPBACK, 0))).getsockname()[1] for _ in range(3)]
        places = ",".join(f"{LOOPBACK}:{port}" for port in nodes)
        with within(0.6), pytest.raises(ModuleFailed, match="the server of the cluster"):
            leases.read_sessions(f"redis+sentinel://{places}/mail", "")


def test_why_it_is_lost() -> None:
    """Who refused the connection is said; what a server says is not, which may repeat the password."""

    async def reason() -> object:
        worker: Any = Worker()
        server = ClusterServer(worker, f"redis://{LOOPBACK}:{free_port()}/0", "", proxy="p")
        await server.ask(server.client.ping)
        await server.close()
        return worker.reason

    assert "Error 111" in str(asyncio.run(reason()))
    for error in (exceptions.ResponseError, exceptions.AuthenticationError, exceptions.ReadOnlyError):
        said = error("unknown command 'AUTH', with args beginning with: 'hidden'")
        assert redisclient.reason_of(said) == error.__name__
