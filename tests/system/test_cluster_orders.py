"""What is ordered at one proxy of a cluster holds at all of them, by a real server of Redis; a move waits for all."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from popular.pdm.contract import ModuleFailed
from popular.proxy.cluster_order_store import GONE, MOST_OCTETS, field_of, wait_until_gone
from popular.proxy.namesakes import Named
from popular.proxy.session.limits.cluster import Cluster
from tests.patience import patient
from tests.proxy.test_cluster_alone import Worker
from tests.system.site import LOOPBACK, PopClient, Proxy, free_port, wait_until
from tests.system.test_cluster import RedisServer
from tests.system.test_operating import WRONG, Store, copier

NAMES = ("ann", "bob", "joe", "kim")


class Pair:
    """Two proxies in front of two stores; users are at the first."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.stores = Store(b"one"), Store(b"two")
        self.server = server
        self.directory = directory
        self.members = [self.made(name) for name in ("p0", "p1")]

    def made(self, name: str, place: str = "") -> "Member":
        """One, in a directory of its name, or another one."""
        return Member(self.directory / (place or name), self, name)


class Member:
    """One of them."""

    def __init__(self, directory: Path, pair: Pair, name: str) -> None:
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        users = directory / "users"
        users.write_text("".join(f"default:{user}:{{PLAIN}}secret:one:\n" for user in NAMES))
        rc = [
            f"set sidprefix {name}",
            f"set clusterpasswordfile {pair.server.secret}",
            f"set cluster {pair.server.url}",
            *(
                f"backend conf {store.name.decode()} host {LOOPBACK} port {store.backend.port} state online"
                for store in pair.stores
            ),
            f"pdm add users passwd {users}",
            f"vserv conf v1 iface {LOOPBACK} port {self.port} namespace default state online",
        ]
        self.audit = directory / "audit"
        options = ["--auditlog", str(self.audit), *copier(directory, 'case "$2" in kim) exec sleep 60;; esac')]
        self.proxy = Proxy(directory, rc, workers=2, options=options)

    def tries(self, user: str) -> bytes:
        with PopClient(self.port) as client:
            return client.log_in(user)

    def ordered(self) -> set[tuple[str, str]]:
        return {(row["sort"], row["id"]) for row in self.proxy.json("state list")}

    def heard(self) -> list[tuple[str, str]]:
        """From whom it was told what, as the audit log has it."""
        rows = [json.loads(line) for line in self.audit.read_text().splitlines()]
        return [(row["proxy"], row["command"]) for row in rows if row["event"] == "told"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with RedisServer(tmp_path) as server:
        made = Pair(tmp_path, server)
        with made.stores[0].backend, made.stores[1].backend, ExitStack() as stack:
            for member in made.members:
                stack.enter_context(member.proxy)
            yield made
            for member in made.members:
                assert member.proxy.log("session_bug") == []


def test_what_is_too_long_fills_no_worker(tmp_path: Path) -> None:
    """Whoever reaches the server may write half a gigabyte there: the server keeps that to itself."""
    lock, long = field_of("user lock", "default:joe"), "x" * MOST_OCTETS
    with RedisServer(tmp_path) as server, redis.Redis(LOOPBACK, server.port, password="hidden") as client:
        client.hset("popular:orders", mapping={lock: '{"value": {}, "by": "p"}', "long": long, long: "long"})
        for words in ({"what": "ordered"}, {"what": long}, {long: "what"}):
            client.xadd("popular:news", words)
        other = Named("p", "2", "h2")
        client.zadd("popular:names", {other.text(): 1e15, other._replace(host=long).text(): 2e15})

        async def read() -> tuple[list[str], list[list[str]], list[Named]]:
            worker: Any = Worker()
            cluster = Cluster(worker, server.url, str(server.secret), proxy="p")
            orders, news, names = await cluster.orders(), await cluster.news("", 10), await cluster.namesakes("1")
            await cluster._close()
            assert orders is not None
            assert news is not None
            assert names is not None
            return [one.entry.id for one in orders[1]], [words for _ident, words in news[1]], names

        assert asyncio.run(read()) == (["default:joe"], [["what", "ordered"], [], []], [other])
        client.eval("for at = 1, 100001 do redis.call('HSET', KEYS[1], at, '') end", 1, "popular:orders")

        async def read_too_many() -> tuple[object, int, list[str]]:
            worker: Any = Worker()
            cluster = Cluster(worker, server.url, str(server.secret), proxy="p")
            orders = await cluster.orders()
            await cluster._close()
            return orders, worker.lost, list(worker.said)

        assert asyncio.run(read_too_many()) == (None, 0, ["cluster_orders_ignored"]), "sessions are counted as ever"


def test_a_name_that_we_had_is_no_proxy_any_more(tmp_path: Path) -> None:
    """A move would wait for it."""
    with RedisServer(tmp_path) as server, redis.Redis(LOOPBACK, server.port, password="hidden") as client:
        now = 1000 * time.time()
        here = socket.gethostname()
        client.zadd("popular:names", {Named("old", "1", here).text(): now - 40_000, Named("q", "2", "h").text(): now})
        client.zadd("popular:proxies", dict.fromkeys(("old", "p", "q"), now))

        async def look() -> list[Named] | None:
            worker: Any = Worker()
            cluster = Cluster(worker, server.url, str(server.secret), proxy="p")
            found = await cluster.namesakes("1")
            await cluster._close()
            return found

        assert asyncio.run(look()) == []
        assert sorted(client.zrange("popular:proxies", 0, -1)) == [b"p", b"q"]


LOCK, BLOCK, HOLD = ("user lock", "default:joe"), ("block", "192.0.2.0/24"), ("user hold", "default:ann")


def test_orders_hold_at_all_proxies(pair: Pair) -> None:
    """A lock ends sessions there too; the end of an order is missed by nobody who was away, and a server that has lost
    what it knew ends none. Who has said it is in the audit log.
    """
    one, other = pair.members
    with ExitStack() as stack:
        stays = stack.enter_context(PopClient(other.port))
        assert stays.log_in("joe") == b"+OK one"
        assert stays.ask("DELE 1") == b"+OK"
        one.proxy.said("user lock joe deadline 0")
        assert stays.rest() == b"", "nobody stays by a DELE, there either"
        assert other.tries("joe") == WRONG
        other.proxy.said("block 192.0.2.0/24")
        one.proxy.said("user hold ann for 20s")
        wait_until(lambda: one.ordered() == other.ordered() == {LOCK, BLOCK, HOLD}, "each has all of it")
        held = stack.enter_context(PopClient(other.port))
        held.say(b"USER ann\r\nPASS secret\r\n")
        one.proxy.said("user release ann")
        assert [held.line() for _ in range(3)][2] == b"+OK one"
        assert ("p0", "user lock default:joe") in other.heard()
        assert one.heard() == [("p1", "block 192.0.2.0/24")]
        one.proxy.said("kick network 127.0.0.1 cluster")
        wait_until(lambda: ("p0", "kick network 127.0.0.1/32") in other.heard(), "kicks are in the audit log too")

        taken = pair.made("p1", "namesake")
        with taken.proxy:
            clash = ("cluster", "namesake")
            wait_until(lambda: clash in other.ordered() and clash in taken.ordered(), "both know that both are p1")
            assert clash not in one.ordered()
            assert "has our name too" in other.proxy.control("user move bob two").text
            wait_until(lambda: other.proxy.log("cluster_namesake"), "it is logged")

        with redis.Redis(LOOPBACK, pair.server.port, password="hidden") as client:
            client.xadd("popular:news", {"x": "y"}, id=f"{2**64 - 1}-{2**64 - 1}")
            other.proxy.said("block 198.51.100.7")
            wait_until(lambda: ("block", "198.51.100.7/32") in one.ordered(), "an id of the future stops no news")
            before = client.dump("popular:orders")
            one.proxy.said("user lock kim")
            other.proxy.said("unblock 198.51.100.7")
            kim, unblocked = ("user lock", "default:kim"), ("block", "198.51.100.7/32")
            both = pair.members
            wait_until(
                lambda: all(kim in it.ordered() and unblocked not in it.ordered() for it in both), "both know it"
            )
            client.restore("popular:orders", 0, before, replace=True)  # a failover that has lost the last writes
            one.proxy.said("user lock max")
            wait_until(lambda: client.hexists("popular:orders", field_of(*kim)), "what was lost is told again")
            wait_until(lambda: not client.hexists("popular:orders", field_of(*unblocked)), "so is an end")
            assert all(kim in member.ordered() for member in pair.members)

            client.flushall()
            one.proxy.said("user hold bob for 20s")
            wait_until(lambda: client.hlen("popular:orders") >= 5, "what was lost is told again")
            assert {LOCK, BLOCK} < one.ordered()
            assert {LOCK, BLOCK} < other.ordered()


@pytest.mark.nightly
def test_a_proxy_that_was_away_catches_up(pair: Pair) -> None:
    """An unlock and an unblock of the time in which it was stopped."""
    one, other = pair.members
    one.proxy.said("user lock joe")
    one.proxy.said("block 192.0.2.0/24")
    wait_until(lambda: other.ordered() == {LOCK, BLOCK}, "it knows")
    other.proxy.stop()
    one.proxy.said("user unlock joe")
    one.proxy.said("unblock 192.0.2.0/24")
    with redis.Redis(LOOPBACK, pair.server.port, password="hidden") as client:
        client.delete("popular:news")  # it is too long ago
    again = pair.made("p1")
    with again.proxy:
        wait_until(lambda: again.ordered() == set(), "both have ended")
        assert again.tries("joe") == b"+OK one"
        pair.server.process.kill()
        pair.server.process.wait(patient(10))
        assert "only here" in again.proxy.said("user lock ann").text
        refused = again.proxy.control("user unlock ann")
        assert not refused.ok
        assert "nothing was changed" in refused.text


def test_who_lacks_the_new_place_says_so(tmp_path: Path) -> None:
    """Whoever moves him hears it at once, with the name, if it is one of a proxy that is there."""

    async def told(server: RedisServer) -> None:
        worker: Any = Worker()
        cluster = Cluster(worker, server.url, str(server.secret), proxy="p1")
        await cluster._server.say_we_are_there()
        cluster.tell_lacking("m")
        await asyncio.gather(*cluster._tasks)
        await cluster._close()

    with RedisServer(tmp_path) as server:
        asyncio.run(told(server))
        with redis.Redis(LOOPBACK, server.port, password="hidden") as client:
            client.sadd(f"{GONE}m", "nobody\0", "p1")
            assert client.ttl(f"{GONE}m") > 0
        with pytest.raises(ModuleFailed, match=r"^the backend is not there at proxy p1$"):
            wait_until_gone(server.url, str(server.secret), "m", us="p0", until=time.time() + patient(5.0))


@pytest.mark.nightly
def test_nobody_is_moved_to_what_another_proxy_lacks(pair: Pair) -> None:
    """He could not log in there any more; he stays where he is, his session there goes on, and the proxy is named."""
    one, other = pair.members
    other.proxy.said("backend del two")
    with PopClient(other.port) as client:
        assert client.log_in("ann") == b"+OK one"
        refused = one.proxy.control("user move ann two")
        assert not refused.ok
        assert refused.text.startswith("the backend is not there at proxy p1")
        wait_until(lambda: other.ordered() == set(), "he is held no more")
        assert client.ask("STAT") == b"+OK"
    assert {member.tries("ann") for member in pair.members} == {b"+OK one"}


@pytest.mark.nightly
def test_a_move_waits_for_all_proxies(pair: Pair) -> None:
    """For a session at the other one too; then the user comes in at the new store, whichever proxy he comes to. If the
    other one does not answer all is as before, and it is named.
    """
    one, other = pair.members
    with ExitStack() as stack:
        idle = stack.enter_context(PopClient(other.port))
        assert idle.log_in("ann") == b"+OK one"
        time.sleep(1.1)
        assert one.proxy.said("user move ann two").text.startswith("user default:ann is moved from one to two; note: ")
        assert idle.rest() == b""
        assert {member.tries("ann") for member in pair.members for _ in range(3)} == {b"+OK two"}
        deletes = stack.enter_context(PopClient(other.port))
        assert deletes.log_in("bob") == b"+OK one"
        assert deletes.ask("DELE 1") == b"+OK"
        late = one.proxy.control("user move bob two timeout 2s")
        assert not late.ok
        ends = "`deadline TIME` ends who stays; everything is as it was before; note: held for "
        left = f"not said in time that nobody is left there: proxy p1; {ends}"
        assert late.text.startswith(left)
        assert deletes.ask("STAT") == b"+OK"
        value = {"move": "m", "until": time.time() - 5}  # which nobody takes any more, or takes away yet
        field, theirs = field_of("user hold", "default:bob"), json.dumps({"value": value, "by": "p2"})
        with redis.Redis(LOOPBACK, pair.server.port, password="hidden", decode_responses=True) as client:
            client.hset("popular:orders", field, theirs)
            assert "another proxy of the cluster is moving him" in one.proxy.control("user move bob two").text
            assert client.hget("popular:orders", field) == theirs
            client.hdel("popular:orders", field)
        wait_until(lambda: other.tries("bob") == b"+OK one", "he is held no more")
        assert other.proxy.said("user unmove ann").text.startswith("user default:ann is moved from two to one; note: ")
        assert {member.tries("ann") for member in pair.members for _ in range(3)} == {b"+OK one"}
        taken = pair.made("p1", "namesake")
        with taken.proxy:
            clash = ("cluster", "namesake")
            wait_until(lambda: clash in other.ordered() and clash in taken.ordered(), "both know that both are p1")
            unheard = one.proxy.control("user move bob two timeout 2s")
            assert not unheard.ok, "the word of one of them is not that of both"
            assert unheard.text.startswith(left)


@pytest.mark.nightly
def test_a_proxy_that_is_killed_in_a_move_holds_nobody_for_ever(pair: Pair) -> None:
    """Its next start takes the hold out at the other one too."""
    one, other = pair.members

    def interrupted() -> None:
        with pytest.raises(OSError):
            one.proxy.control("user move kim two")

    control = threading.Thread(target=interrupted, daemon=True)
    control.start()
    wait_until(lambda: ("user hold", "default:kim") in other.ordered(), "he is held there")
    one.proxy.kill_master()
    control.join()
    assert ("user hold", "default:kim") in other.ordered()
    again = pair.made("p0")
    with again.proxy:
        wait_until(lambda: other.ordered() == again.ordered() == set(), "nothing is left of it")
        assert (other.tries("kim"), again.tries("kim")) == (b"+OK one", b"+OK one")
