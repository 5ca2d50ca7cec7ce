"""The sessions of a worker in the cluster: asks for a lease before somebody is let in, renews the leases of those who
are there, and gives them back.

While the server does not answer (cluster_server.py) nobody waits for it: limits count locally, as they do anyhow. When
it is back all leases are there again with the next renewal.
"""

import asyncio
import functools
import itertools
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from popular import messages
from popular.protocol.replies import Code
from popular.proxy import cluster_order_store, leases
from popular.proxy.cluster_order_store import StoredOrder, stored_order
from popular.proxy.leases import FULL, LEASE_SECONDS, RENEW_SECONDS, HeldInCluster
from popular.proxy.namesakes import NAMED_SECONDS, Named, namesakes, out_of_use
from popular.proxy.session.limits.cluster_listing import ClusterListing
from popular.proxy.session.limits.cluster_server import AGAIN_SECONDS, ASK_SECONDS, MOST_AT_ONCE, ClusterServer
from popular.proxy.session.limits.contracts import Hindrance
from popular.proxy.settings.limits import LOGINDELAY, USER_SESSIONS
from popular.proxy.storeseen import KnownChange, StoreState
from supervisor.operatorstate import OrderEntry
from supervisor.serving.context import WorkerContext

_ASIDE = MOST_AT_ONCE // 4
"""So much at once of each sort that no login waits for: leases given back, leases renewed, news. However much there is
of these, logins have the last quarter for themselves.
"""
_MOST_WAITING = 1000
"""With so much to be said, news are left out."""

LEASE_PATIENCE_SECONDS = 5.0
"""For which a session waits for its lease; it has its answer before: ASK_SECONDS for what it held before, as much for
the new one.
"""

_HINDRANCES = {
    FULL: Hindrance(USER_SESSIONS, Code.IN_USE),
    leases.TOO_SOON: Hindrance(LOGINDELAY, Code.LOGIN_DELAY),
}


@dataclass(frozen=True, slots=True)
class Lease:
    """What is wanted of the server for one session."""

    sid: str
    namespace: str
    user: str
    sessions: int
    """How many there may be; 0: any number."""
    delay: int
    """Seconds until the user may come again; 0: at once."""


class Cluster:
    """One worker's; for its event loop's thread only, but for `__init__`."""

    def __init__(self, context: WorkerContext, url: str, passwordfile: str, *, proxy: str, run: str = "") -> None:
        """`proxy`: our name among the others; `run`: of this run, in all its workers: names of two may be the same.
        Raises ModuleFailed.
        """
        self.settings = (url, passwordfile)
        self._context = context
        self.proxy = proxy
        self.run = run
        self._server = ClusterServer(context, url, passwordfile, proxy=proxy)
        self._client = self._server.client
        self.listing = ClusterListing(context, self._server, proxy=proxy)
        """Looked at by the services that are to have their sessions listed (news.py)."""
        self.holders = 0
        """Services that use it; after the last one it is closed."""
        self._take = self._client.register_script(leases.TAKE)
        self._look = self._client.register_script(leases.LOOK)
        self._renew = self._client.register_script(leases.RENEW)
        self._stay_out = self._client.register_script(leases.STAY_OUT)
        self._news = self._client.register_script(leases.NEWS_SINCE)
        self._read = self._client.register_script(cluster_order_store.READ_ORDERS)
        self._change = self._client.register_script(cluster_order_store.CHANGE)
        self._named = self._client.register_script(cluster_order_store.NAMED)
        self._add_news = self._client.register_script(leases.ADD_NEWS)
        self._telling = asyncio.Semaphore(_ASIDE)
        self._giving_back = asyncio.Semaphore(_ASIDE)
        self._held: dict[int, Lease] = {}
        """By row, from when it is asked for until the session of that row leaves."""
        self._unanswered: set[int] = set()
        """Rows of those of them of which the server has not said yet whether they may be: they are not renewed."""
        self._inside: set[int] = set()
        """Rows of those of them who were let in."""
        self._leaving: dict[str, asyncio.Task[None]] = {}
        """By session, what gives back what it held before: nothing new is asked for until that is done."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._renewing: asyncio.TimerHandle | None = None

    def release(self) -> None:
        """One service less uses it; from whatever thread."""
        self.holders -= 1
        if self.holders == 0:
            self._context.loop.call_soon_threadsafe(self._begin_close)

    def _begin_close(self) -> None:
        self._server.begin_close()
        self._closing = self._context.loop.create_task(self._close())

    async def _close(self) -> None:
        """All its sessions are over: what they have said is heard to its end, and the connections go."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._renewing is not None:  # or what was under way has it begin again
            self._renewing.cancel()
            self._renewing = None
        await self._server.close()

    def take_lease(self, row_number: int, lease: Lease, answered: Callable[[Hindrance | None], None]) -> None:
        """Asks for a lease; `answered` is called once, soon, with what hinders the session; not any more if it has left
        by then, for the row may be another's.
        """
        self.leave(row_number)
        self._held[row_number] = lease
        if self._renewing is None:
            self._renewing = self._context.loop.call_later(RENEW_SECONDS, self._renew_all)
        if self._server.is_left_alone():
            self._context.loop.call_soon(answered, None)
            return
        self._unanswered.add(row_number)
        self._begin(self._ask(row_number, lease, answered))

    def came_in(self, row_number: int) -> None:
        """The password was right, and nothing hindered him: when he may come again counts from now on."""
        lease = self._held.get(row_number)
        if lease is not None:
            self._inside.add(row_number)
            if lease.delay and not self._server.is_lost:
                self._begin(self._put_off(lease))

    def leave(self, row_number: int) -> None:
        """The session is over, or was not let in."""
        lease = self._held.pop(row_number, None)
        was_inside = row_number in self._inside
        self._inside.discard(row_number)
        self._unanswered.discard(row_number)
        if lease is not None and not self._server.is_lost:
            self._leaving[lease.sid] = task = self._begin(self._give_back(lease, was_inside))
            task.add_done_callback(lambda done: self._has_left(lease.sid, done))

    def _has_left(self, sid: str, done: asyncio.Task[None]) -> None:
        if self._leaving.get(sid) is done:
            del self._leaving[sid]

    def tell(self, what: str, **fields: str) -> None:
        """What the other proxies are to know; they are not told while the server is away, or far too slow."""
        if not self._server.is_left_alone() and len(self._tasks) < _MOST_WAITING:
            self._begin(self._add({"by": self.run, "what": what, **fields}))

    async def _add(self, fields: dict[str, str]) -> None:
        async with self._telling:
            await self._server.ask(lambda: self._add_news(keys=[leases.NEWS], args=leases.news_arguments(fields)))

    async def orders(self) -> tuple[StoreState, list[StoredOrder], float] | None:
        """Where the store stands, the orders of all proxies, and the server's time; None if the server does not answer,
        or has more than can be. It knows then that this proxy is there.
        """
        said = await self._server.ask(self._ask_for_orders)
        if said is None:
            return None
        at, words = said
        found: dict[str, str] = dict(zip(words[::2], words[1::2], strict=True))
        stored = (stored_order(field, text) for field, text in found.items())
        return StoreState.of(found), [one for one in stored if one is not None], float(at)

    async def _ask_for_orders(self) -> tuple[str, list[str]] | None:
        await self._server.say_we_are_there()
        if await self._client.hlen(cluster_order_store.ORDERS) > cluster_order_store.MOST_ORDERS:
            self._context.log(messages.CLUSTER_ORDERS_IGNORED, most=cluster_order_store.MOST_ORDERS)
            return None
        at, words = await self._read(keys=[cluster_order_store.ORDERS], args=[cluster_order_store.MOST_OCTETS])
        return at, words

    async def namesakes(self, identity: str) -> list[Named] | None:
        """The other proxies that have our name; None if the server does not answer. It knows then which one we are."""
        us = Named(self.proxy, identity, socket.gethostname())
        said = await self._server.ask(lambda: self._ask_for_names(us))
        return None if said is None else namesakes(us, said)

    async def _ask_for_names(self, us: Named) -> list[str]:
        counts, kept = (int(1000 * seconds) for seconds in (NAMED_SECONDS, cluster_order_store.AWAY_SECONDS))
        words = [us.text(), counts, cluster_order_store.MOST_OCTETS, kept]
        found: tuple[list[str], list[str]] = await self._named(keys=[cluster_order_store.NAMES], args=words)
        said, silent = found
        if unused := out_of_use(said, silent):
            await self._client.zrem(cluster_order_store.PROXIES, *unused)
        return said

    async def change_orders(self, entries: Sequence[OrderEntry], stale: Sequence[StoredOrder]) -> KnownChange | None:
        """Puts these there, and takes out what is stale; None if the server does not answer."""
        words = cluster_order_store.arguments_of(entries, self.proxy, stale=stale)
        said: str | None = await self._server.ask(lambda: self._change(keys=[cluster_order_store.ORDERS], args=words))
        if said is None:
            return None
        if entries:
            self.tell(cluster_order_store.ORDERED, proxy=self.proxy)
        return cluster_order_store.state_from(said).known

    def tell_lacking(self, move: str) -> None:
        """Whoever moves somebody: we lack the backend to which he is to come."""
        if not self._server.is_left_alone():
            self._begin(self._say_lacking(cluster_order_store.GONE + move))

    async def _say_lacking(self, key: str) -> None:
        await self._server.ask(lambda: self._client.sadd(key, f"{self.proxy}{cluster_order_store.LACKS}"))
        await self._server.ask(lambda: self._client.expire(key, int(cluster_order_store.AWAY_SECONDS)))

    async def look(self, namespace: str, user: str) -> HeldInCluster | None:
        """How a user stands at all proxies; None if it does not answer, when each counts by itself."""
        found = await self._server.ask(lambda: self._look(keys=leases.keys_of(namespace, user)))
        return None if found is None else HeldInCluster(found[0], max(0, found[1]) / 1000)

    async def news(self, since: str, most: int) -> tuple[int, list[Any]] | None:
        """The server's time in milliseconds, and what was told since; None if it does not answer."""
        words = [since, most, int(1000 * leases.BACK_SECONDS), cluster_order_store.MOST_OCTETS]
        found = await self._server.ask(lambda: self._news(keys=[leases.NEWS], args=words))
        return None if found is None else (found[0], found[1])

    async def _ask(self, row_number: int, lease: Lease, answered: Callable[[Hindrance | None], None]) -> None:
        if self._held.get(row_number) is not lease:  # the session has gone before anything was asked
            return
        said = await self._ask_for_lease(lease) if await self._has_given_back(lease.sid) else None
        if self._held.get(row_number) is not lease:  # it has gone meanwhile
            await self._give_back(lease, was_inside=False)
            return
        self._unanswered.discard(row_number)
        if said in _HINDRANCES:
            del self._held[row_number]
        answered(None if said is None else _HINDRANCES.get(said))

    async def _has_given_back(self, sid: str) -> bool:
        """Waits until nothing is left of what the session held before: else it would be given back what it is to get
        now. That takes long where many end at once, which is no sign of a slow server: then this login counts alone.
        """
        leaving = self._leaving.get(sid)
        return leaving is None or bool((await asyncio.wait((leaving,), timeout=ASK_SECONDS))[0])

    def _ask_for_lease(self, lease: Lease) -> Awaitable[int | None]:
        arguments = [lease.sid, lease.sessions, 1000 * lease.delay, int(1000 * LEASE_SECONDS)]
        return self._server.ask(lambda: self._take(keys=leases.keys_of(lease.namespace, lease.user), args=arguments))

    async def _put_off(self, lease: Lease) -> None:
        _sessions, delay = leases.keys_of(lease.namespace, lease.user)
        await self._server.ask(lambda: self._client.set(delay, lease.sid, px=1000 * lease.delay))

    async def _give_back(self, lease: Lease, was_inside: bool) -> None:
        """Many may end at once: it is no sign of a slow server that the last of them wait."""
        async with self._giving_back:
            await self._server.ask(lambda: self._take_out(lease, was_inside))

    async def _take_out(self, lease: Lease, was_inside: bool) -> None:
        """Who was not let in is no reason to put off the next one: a stranger's wrong password keeps nobody out."""
        keys = leases.keys_of(lease.namespace, lease.user)
        if was_inside:
            await self._client.zrem(keys[0], lease.sid)
        else:
            await self._stay_out(keys=keys, args=[lease.sid])

    def _renew_all(self) -> None:
        """Until it is done `_renewing` stays: nobody begins another one."""
        if self._held:
            self._begin(self._renew_held())
        else:
            self._renewing = None

    async def _renew_held(self) -> None:
        """Also what the server has lost meanwhile. Who has left while it was under way is taken out again."""
        loop = self._context.loop
        began = loop.time()
        renewed = [lease for row_number, lease in self._held.items() if row_number not in self._unanswered]
        by_key: dict[str, list[str]] = {}
        for lease in renewed:
            by_key.setdefault(leases.keys_of(lease.namespace, lease.user)[0], []).append(lease.sid)
        rest = iter(by_key.items())
        if await self._renew_next(itertools.islice(rest, 1)):  # alone: while it is lost one question is let through
            await asyncio.gather(*(self._renew_next(rest) for _ in range(_ASIDE)))
        there = set(self._held.values())
        for lease in renewed:
            if lease not in there and not self._server.is_lost:
                self._begin(self._give_back(lease, was_inside=True))
        pause = AGAIN_SECONDS if self._server.is_lost else max(0.0, began + RENEW_SECONDS - loop.time())
        self._renewing = loop.call_later(pause, self._renew_all) if self._held else None

    async def _renew_next(self, rest: Iterator[tuple[str, list[str]]]) -> bool:
        """One after the other, what nobody else has taken; whether the server has answered."""
        for key, members in rest:
            if await self._server.ask(functools.partial(self._renew_leases, key, members)) is None:
                return False
        return True

    def _renew_leases(self, key: str, members: Sequence[str]) -> Awaitable[int]:
        renewed: Awaitable[int] = self._renew(keys=[key], args=leases.renewal(members))
        return renewed

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._context.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
