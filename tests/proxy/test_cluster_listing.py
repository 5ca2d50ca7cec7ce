"""Who is in the list of the cluster, and how much is said for that, on a loop of its own."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from popular.proxy.session.limits.cluster import Cluster
from popular.proxy.session.limits.cluster_listing import MOST_IN_COMMAND, ClusterListing
from supervisor.serving.session import CutCost, Whose
from tests.proxy.test_cluster_alone import Worker
from tests.proxy.test_cluster_server import slow_server

ASKED = b"EVALSHA"


class Person:
    """A session, as a listing looks at it."""

    def __init__(self, sid: str, cost: CutCost = CutCost.IDLE, *names: str) -> None:
        self.sid = sid
        self._cost = cost
        self._names = names or ("default:joe",)

    def cut_cost(self) -> CutCost:
        return self._cost

    def whose(self) -> Whose:
        return Whose(0.0, "192.0.2.1", (("vserv", "v1"), *(("user", name) for name in self._names)))


class ListServer:
    """What a listing tells, as a server that hears it would have it."""

    def __init__(self) -> None:
        self.sessions: dict[int, Person] = {}
        self.answers: bool = True
        self.lengths: list[tuple[int, int]] = []
        """How many had come, or were there still, and how many had gone, in each command."""
        self.listed: dict[str, str] = {}
        server: Any = SimpleNamespace(client=self, ask=self._ask, is_left_alone=lambda: False, let_through=lambda: None)
        self.listing = ClusterListing(self, server, proxy="p")  # type: ignore[arg-type]

    def register_script(self, _script: str) -> Any:
        return self._renew

    async def _ask(self, question: Any) -> int | None:
        return await question() if self.answers else None

    async def _renew(self, keys: list[str], args: list[Any]) -> int:
        assert keys == ["popular:sessions"]
        _milliseconds, count, *members = args
        self.lengths.append((len(members) - count, count))
        facts = [json.loads(member) for member in members]
        for fact in facts[:count]:
            del self.listed[fact["sid"]]
        self.listed |= {fact["sid"]: fact["user"] for fact in facts[count:]}
        return 0

    def look(self) -> list[tuple[int, int]]:
        """What one look tells, whenever it is."""
        self.lengths.clear()
        asyncio.run(self.listing.finish())
        return list(self.lengths)


def test_who_is_logged_in_is_listed_until_he_goes() -> None:
    """By his account; who is on his way in is not, and the next one in a row is another one."""
    told = ListServer()
    told.sessions = {
        1: Person("1"),
        2: Person("2", CutCost.COMING_IN),
        3: Person("3", CutCost.COMMITTING, "default:JANE", "default:jane"),
        4: Person("4", CutCost.NOT_LOGGED_IN),
    }
    assert told.look() == [(2, 0)]
    assert told.listed == {"1": "joe", "3": "jane"}
    told.sessions = {1: Person("5", CutCost.IN_TRANSFER), 2: told.sessions[2]}
    assert told.look() == [(1, 2)]
    assert told.listed == {"5": "joe"}
    assert told.look() == [], "there is nothing to tell"


def test_ten_thousand_are_told_in_short_commands(monkeypatch: Any) -> None:
    """Each of bounded length, once until it is time again; who could not be told is told at the next look."""
    told = ListServer()
    told.sessions = {row: Person(str(row)) for row in range(10_000)}
    told.answers = False
    assert told.look() == []
    told.answers = True
    assert told.look() == [(MOST_IN_COMMAND, 0)] * (10_000 // MOST_IN_COMMAND)
    assert told.look() == []
    told.sessions = {row: told.sessions[row] for row in range(4000)}
    assert told.look() == [(0, MOST_IN_COMMAND)] * (6000 // MOST_IN_COMMAND)
    monkeypatch.setattr("popular.proxy.session.limits.cluster_listing.time.monotonic", lambda: float("1e12"))
    assert told.look() == [(MOST_IN_COMMAND, 0)] * (4000 // MOST_IN_COMMAND)
    assert len(told.listed) == 4000


def test_a_crowd_in_the_list_leaves_the_turns_to_others() -> None:
    """One command is under way at a time, whoever looks: leases and logins have all the other connections."""

    async def at_once() -> tuple[int, int]:
        worker: Any = Worker()
        worker.sessions = {row: Person(str(row)) for row in range(2000)}
        async with slow_server() as (slow, url):
            cluster = Cluster(worker, url, "", proxy="p")
            await asyncio.gather(cluster.listing.look(), cluster.listing.look())
            await cluster.listing.look()
            await cluster._close()
            return slow.said[ASKED], slow.most

    assert asyncio.run(at_once()) == (2000 // MOST_IN_COMMAND, 1)
