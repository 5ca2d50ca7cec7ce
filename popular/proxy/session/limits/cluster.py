"""The sessions of a worker in the cluster: asks for a lease before somebody is let in, renews the leases of those who
are there, and gives them back.

While the server does not answer, nobody waits for it: limits count locally, as they do anyhow, one line and a gauge
tell, and it is tried again every few seconds. When it is back all leases are there again with the next renewal.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from popular import messages
from popular.protocol.replies import Code
from popular.proxy import cluster_order_store, leases
from popular.proxy.cluster_order_store import StoredOrder, stored_order
from popular.proxy.leases import FREE, FULL, LEASE_SECONDS, HeldInCluster
from popular.proxy.namesakes import NAMED_SECONDS, Named, namesakes, out_of_use
from popular.proxy.session.limits.contracts import Hindrance
from popular.proxy.settings.limits import LOGINDELAY, USER_SESSIONS
from popular.proxy.storeseen import KnownChange, StoreState
from supervisor.operatorstate import OrderEntry
from supervisor.serving.context import WorkerContext

RENEW_SECONDS = LEASE_SECONDS / 3
AGAIN_SECONDS = 3.0
"""Between two tries while the server does not answer."""

MOST_AT_ONCE = 32
"""What is asked of the server at once, each on a connection of its own. The library has a hundred of them and then says
that there is no server: whoever guessed fast enough would be rid of the limits.
"""
_MOST_WAITING = 1000
"""With so much to be said, news are left out."""

LEASE_PATIENCE_SECONDS = 5.0
"""For which a session waits for its lease; the answer has less."""

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
        self._connected = leases.connected(url, passwordfile)
        self._client = self._connected.client
        self.holders = 0
        """Services that use it; after the last one it is closed."""
        self._take = self._client.register_script(leases.TAKE)
        self._look = self._client.register_script(leases.LOOK)
        self._renew = self._client.register_script(leases.RENEW)
        self._stay_out = self._client.register_script(leases.STAY_OUT)
        self._news = self._client.register_script(leases.NEWS_SINCE)
        self._read = self._client.register_script(cluster_order_store.READ_ORDERS)
        self._there = self._client.register_script(cluster_order_store.THERE)
        self._change = self._client.register_script(cluster_order_store.CHANGE)
        self._named = self._client.register_script(cluster_order_store.NAMED)
        self._add_news = self._client.register_script(leases.ADD_NEWS)
        self._errors = leases.errors()
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._held: dict[int, Lease] = {}
        """By row."""
        self._inside: set[int] = set()
        """Rows of those of them who were let in."""
        self._leaving: dict[int, asyncio.Task[None]] = {}
        """By row, what gives back what it held before: nothing new is asked for until that is done."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._lost = False
        self._not_before = 0.0
        self._renewing: asyncio.TimerHandle | None = None

    def release(self) -> None:
        """One service less uses it; from whatever thread."""
        self.holders -= 1
        if self.holders == 0:
            self._context.loop.call_soon_threadsafe(self._begin_close)

    def _begin_close(self) -> None:
        self._closing = self._context.loop.create_task(self._close())

    async def _close(self) -> None:
        """All its sessions are over: what they have said is heard to its end, and the connections go."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._lost:
            self._lost = False
            self._context.counters.count("clusters_lost", amount=-1)
        await self._connected.aclose()

    def take_lease(self, row_number: int, lease: Lease, answered: Callable[[Hindrance | None], None]) -> None:
        """Asks for a lease; `answered` is called once, soon, with what hinders the session."""
        self.leave(row_number)
        if self._renewing is None:
            self._renewing = self._context.loop.call_later(RENEW_SECONDS, self._renew_all)
        if self._is_to_be_left_alone():
            self._held[row_number] = lease
            self._context.loop.call_soon(answered, None)
            return
        self._begin(self._ask(row_number, lease, answered))

    def came_in(self, row_number: int) -> None:
        """The password was right, and nothing hindered him: when he may come again counts from now on."""
        lease = self._held.get(row_number)
        if lease is not None:
            self._inside.add(row_number)
            if lease.delay and not self._lost:
                self._begin(self._put_off(lease))

    def leave(self, row_number: int) -> None:
        """The session is over, or was not let in."""
        lease = self._held.pop(row_number, None)
        was_inside = row_number in self._inside
        self._inside.discard(row_number)
        if lease is not None and not self._lost:
            self._leaving[row_number] = task = self._begin(self._give_back(lease, was_inside))
            task.add_done_callback(lambda done: self._has_left(row_number, done))

    def _has_left(self, row_number: int, done: asyncio.Task[None]) -> None:
        if self._leaving.get(row_number) is done:
            del self._leaving[row_number]

    def tell(self, what: str, **fields: str) -> None:
        """What the other proxies are to know; they are not told while the server is away, or far too slow."""
        if not self._is_to_be_left_alone() and len(self._tasks) < _MOST_WAITING:
            self._begin(self._add({"by": self.run, "what": what, **fields}))

    async def _add(self, fields: dict[str, str]) -> None:
        async with self._turns:
            if self._is_to_be_left_alone():
                return
            try:
                await self._add_news(keys=[leases.NEWS], args=leases.news_arguments(fields))
            except self._errors as error:
                self._is_lost(error)

    async def orders(self) -> tuple[StoreState, list[StoredOrder], float] | None:
        """Where the store stands, the orders of all proxies, and the server's time; None if the server does not answer,
        or has more than can be. It knows then that this proxy is there.
        """
        if self._is_to_be_left_alone():
            return None
        try:
            async with self._turns:
                await self._there(keys=[cluster_order_store.PROXIES], args=[self.proxy])
                if await self._client.hlen(cluster_order_store.ORDERS) > cluster_order_store.MOST_ORDERS:
                    self._context.log(messages.CLUSTER_ORDERS_IGNORED, most=cluster_order_store.MOST_ORDERS)
                    return None
                at, words = await self._read(keys=[cluster_order_store.ORDERS], args=[cluster_order_store.MOST_OCTETS])
        except self._errors as error:
            self._is_lost(error)
            return None
        found: dict[str, str] = dict(zip(words[::2], words[1::2], strict=True))
        stored = (stored_order(field, text) for field, text in found.items())
        return StoreState.of(found), [one for one in stored if one is not None], float(at)

    async def namesakes(self, identity: str) -> list[Named] | None:
        """The other proxies that have our name; None if the server does not answer. It knows then which one we are."""
        us = Named(self.proxy, identity, socket.gethostname())
        try:
            async with self._turns:
                counts, kept = (int(1000 * seconds) for seconds in (NAMED_SECONDS, cluster_order_store.AWAY_SECONDS))
                words = [us.text(), counts, cluster_order_store.MOST_OCTETS, kept]
                found: tuple[list[str], list[str]] = await self._named(keys=[cluster_order_store.NAMES], args=words)
                said, silent = found
                if unused := out_of_use(said, silent):
                    await self._client.zrem(cluster_order_store.PROXIES, *unused)
        except self._errors as error:
            self._is_lost(error)
            return None
        return namesakes(us, said)

    async def change_orders(self, entries: Sequence[OrderEntry], stale: Sequence[StoredOrder]) -> KnownChange | None:
        """Puts these there, and takes out what is stale; None if the server does not answer."""
        try:
            async with self._turns:
                words = cluster_order_store.arguments_of(entries, self.proxy, stale=stale)
                said: str = await self._change(keys=[cluster_order_store.ORDERS], args=words)
        except self._errors as error:
            self._is_lost(error)
            return None
        if entries:
            self.tell(cluster_order_store.ORDERED, proxy=self.proxy)
        return cluster_order_store.state_from(said).known

    async def look(self, namespace: str, user: str) -> HeldInCluster | None:
        """How a user stands at all proxies; None if it does not answer, when each counts by itself."""
        if self._is_to_be_left_alone():
            return None
        try:
            async with self._turns:
                sessions, milliseconds = await self._look(keys=leases.keys_of(namespace, user))
        except self._errors as error:
            self._is_lost(error)
            return None
        self._is_back()
        return HeldInCluster(sessions, max(0, milliseconds) / 1000)

    async def news(self, since: str, most: int) -> tuple[int, list[Any]] | None:
        """The server's time in milliseconds, and what was told since; None if it does not answer."""
        if self._is_to_be_left_alone():
            return None
        try:
            async with self._turns:
                back = int(1000 * leases.BACK_SECONDS)
                words = [since, most, back, cluster_order_store.MOST_OCTETS]
                now, found = await self._news(keys=[leases.NEWS], args=words)
        except self._errors as error:
            self._is_lost(error)
            return None
        self._is_back()
        return now, found

    async def _ask(self, row_number: int, lease: Lease, answered: Callable[[Hindrance | None], None]) -> None:
        arguments = [lease.sid, lease.sessions, 1000 * lease.delay, int(1000 * LEASE_SECONDS)]
        self._held[row_number] = lease
        said = FREE
        if (leaving := self._leaving.get(row_number)) is not None:
            await asyncio.wait((leaving,))
        async with self._turns:
            if not self._is_to_be_left_alone():
                try:
                    said = await self._take(keys=leases.keys_of(lease.namespace, lease.user), args=arguments)
                    self._is_back()
                except self._errors as error:
                    self._is_lost(error)
        if self._held.get(row_number) is not lease:  # the session has gone meanwhile
            await self._give_back(lease, was_inside=False)
            return
        if said != FREE:
            del self._held[row_number]
        answered(_HINDRANCES.get(said))
        if said == FREE and not self._lost:
            await self._show(lease)

    async def _show(self, lease: Lease) -> None:
        try:
            async with self._turns:
                if not self._is_to_be_left_alone():
                    await self._renew(keys=[leases.ALL], args=[int(1000 * LEASE_SECONDS), self._member(lease)])
        except self._errors as error:
            self._is_lost(error)

    async def _put_off(self, lease: Lease) -> None:
        _sessions, delay = leases.keys_of(lease.namespace, lease.user)
        try:
            async with self._turns:
                if not self._is_to_be_left_alone():
                    await self._client.set(delay, lease.sid, px=1000 * lease.delay)
        except self._errors as error:
            self._is_lost(error)

    async def _give_back(self, lease: Lease, was_inside: bool) -> None:
        """Who was not let in is no reason to put off the next one: a stranger's wrong password keeps nobody out."""
        keys = leases.keys_of(lease.namespace, lease.user)
        async with self._turns:
            if self._is_to_be_left_alone():
                return
            try:
                if was_inside:
                    await self._client.zrem(keys[0], lease.sid)
                else:
                    await self._stay_out(keys=keys, args=[lease.sid])
                await self._client.zrem(leases.ALL, self._member(lease))
            except self._errors as error:
                self._is_lost(error)

    def _renew_all(self) -> None:
        self._renewing = None
        if self._held:
            self._begin(self._renew_held())

    async def _renew_held(self) -> None:
        """Also what the server has lost meanwhile. Who has left while it was under way is taken out again."""
        renewed = list(self._held.values())
        by_key: dict[str, list[str]] = {leases.ALL: [self._member(lease) for lease in renewed]}
        for lease in renewed:
            by_key.setdefault(leases.keys_of(lease.namespace, lease.user)[0], []).append(lease.sid)
        try:
            for key, members in by_key.items():
                async with self._turns:
                    await self._renew(keys=[key], args=[int(1000 * LEASE_SECONDS), *members])
            self._is_back()
        except self._errors as error:
            self._is_lost(error)
        there = set(self._held.values())
        for lease in renewed:
            if lease not in there and not self._lost:
                await self._give_back(lease, was_inside=True)
        if self._held and self._renewing is None:
            pause = AGAIN_SECONDS if self._lost else RENEW_SECONDS
            self._renewing = self._context.loop.call_later(pause, self._renew_all)

    def _member(self, lease: Lease) -> str:
        return leases.member(lease.sid, self.proxy, namespace=lease.namespace, user=lease.user)

    def _is_to_be_left_alone(self) -> bool:
        """It did not answer just now."""
        return self._lost and self._context.clock.now < self._not_before

    def _is_lost(self, error: BaseException) -> None:
        self._not_before = self._context.clock.now + AGAIN_SECONDS
        if not self._lost and self._closing is None:
            self._lost = True
            self._context.counters.count("clusters_lost", amount=1)
            self._context.log(messages.CLUSTER_LOST, reason=type(error).__name__)

    def _is_back(self) -> None:
        if self._lost:
            self._lost = False
            self._context.counters.count("clusters_lost", amount=-1)
            self._context.log(messages.CLUSTER_BACK)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._context.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
