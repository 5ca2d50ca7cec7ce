"""A session that ends, or asks again, while the cluster is asked for its lease."""

import asyncio
from typing import Any

import pytest

from popular.proxy.session.limits import cluster as cluster_module
from popular.proxy.session.limits.cluster import Cluster
from popular.proxy.session.limits.contracts import Hindrance
from tests.patience import patient
from tests.proxy.test_cluster_alone import Worker
from tests.proxy.test_cluster_server import end, lease, slow_server

ASKED = b"EVALSHA"


def nobody(hindrance: Hindrance | None) -> None:
    raise AssertionError(f"the session is over, and is told {hindrance}")


def test_who_has_gone_before_anything_was_asked_leaves_nothing_behind() -> None:
    """The row is another's by then: it is not renewed in it, and who has it now is told nothing of it."""

    async def gone() -> tuple[dict[int, Any], set[int], bool]:
        worker: Any = Worker()
        async with slow_server() as (_slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            cluster.take_lease(0, lease(1), nobody)
            cluster.leave(0)
            await asyncio.wait_for(asyncio.gather(*cluster._tasks), patient(10.0))
            found = dict(cluster._held), set(cluster._unanswered), bool(cluster._leaving)
            await cluster._close()
            return found

    assert asyncio.run(gone()) == ({}, set(), False)


def test_nobody_is_renewed_who_may_not_be_there() -> None:
    """What asks for the lease would find it there, and let him in beside as many as may be."""

    async def renewed() -> list[int]:
        worker: Any = Worker()
        async with slow_server() as (slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            answered = asyncio.Event()
            cluster.take_lease(0, lease(1), lambda _hindrance: answered.set())
            await asyncio.sleep(0)
            await cluster._renew_held()
            await asyncio.wait_for(answered.wait(), patient(10.0))
            await asyncio.gather(*cluster._tasks)
            asked = [slow.said[ASKED]]
            await cluster._renew_held()
            asked.append(slow.said[ASKED] - asked[0])
            await end(cluster)
            return asked

    assert asyncio.run(renewed()) == [1, 1], "for his lease, and then for its renewal"


def test_a_mass_ending_is_no_sign_of_a_lost_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again meanwhile counts alone; whoever has the row of one who has gone waits for nothing."""
    monkeypatch.setattr(cluster_module, "ASK_SECONDS", 0.05)

    async def crowded() -> tuple[int, int, int]:
        worker: Any = Worker()
        async with slow_server() as (slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            for _ in range(cluster_module._ASIDE):
                await cluster._giving_back.acquire()
            asked: list[int] = []
            for number in (1, 1, 2):
                answered: asyncio.Future[Hindrance | None] = worker.loop.create_future()
                cluster.take_lease(0, lease(number), answered.set_result)
                assert await asyncio.wait_for(answered, patient(10.0)) is None
                asked.append(slow.said[ASKED])
            lost = worker.lost
            for _ in range(cluster_module._ASIDE):
                cluster._giving_back.release()
            cluster.leave(0)
            await asyncio.gather(*cluster._tasks)
            await end(cluster)
            return lost, asked[1] - asked[0], asked[2] - asked[1]

    lost, again, other = asyncio.run(crowded())
    assert lost == 0
    assert again == 0, "there is no second question"
    assert other >= 1


def test_a_renewal_under_way_begins_no_other_one_after_the_end() -> None:
    """The connections are closed, and nothing is asked on them."""

    async def closed() -> object:
        worker: Any = Worker()
        async with slow_server(patient(0.05)) as (_slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            cluster._held[0] = lease(0)
            cluster._renew_all()
            await asyncio.sleep(0)
            await cluster._close()
            return cluster._renewing

    assert asyncio.run(closed()) is None
