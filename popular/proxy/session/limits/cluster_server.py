"""The server of a cluster, as one worker asks it: so much at once, each time within a deadline, and not at all while it
does not answer.

    answer = await server.ask(lambda: client.get(key))     # None: no answer, now or just now

Whoever gets None goes on alone. One line and a gauge tell that the server is lost; every few seconds one question is
let through, which first writes something: a replica that only reads, or a server that is full, has not come back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from popular import messages
from popular.pdm import redisclient
from popular.proxy import cluster_order_store, leases
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG
from supervisor.serving.context import WorkerContext

AGAIN_SECONDS = 3.0
"""Between two tries while the server does not answer: longer than one may take, so there is never more than one."""

ASK_SECONDS = 2.0
"""For a question, from when a turn is waited for to the answer, however many sentinels or nodes are tried for it. A
queue that is longer shows that the server is too slow for so many logins.
"""

MOST_AT_ONCE = 32
"""What is asked of the server at once, each on a connection of its own. The library has a hundred of them and then says
that there is no server: whoever guessed fast enough would be rid of the limits.
"""

_Answer = TypeVar("_Answer")


class ClusterServer:
    """One worker's; for its event loop's thread only, but for `__init__`."""

    def __init__(self, context: WorkerContext, url: str, passwordfile: str, *, proxy: str) -> None:
        """Raises ModuleFailed."""
        self._context = context
        self._proxy = proxy
        self._connected = leases.connected(url, passwordfile)
        self.client: Any = self._connected.client
        self._there = self.client.register_script(cluster_order_store.THERE)
        self._errors = leases.errors()
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)
        self._over = False
        self.is_lost = False
        self._not_before = 0.0

    def is_left_alone(self) -> bool:
        """It did not answer just now, or somebody finds out whether it does again."""
        return self.is_lost and self._context.clock.now < self._not_before

    async def ask(self, question: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
        """Never raises: what is a fault of ours is told, and costs no more than a server that is away."""
        if self.is_left_alone():
            return None
        probes = self.is_lost
        if probes:
            self._leave_alone()
        try:
            async with asyncio.timeout(ASK_SECONDS), self._turns:
                if self.is_lost and not probes:  # since it waited for its turn
                    return None
                if probes:
                    await self.say_we_are_there()
                answer = await question()
        except Exception as error:
            if not isinstance(error, self._errors):
                self._context.log(SESSION_BUG, "-", error=kind_and_location_of(error))
            self.lose(redisclient.reason_of(error))
            return None
        if probes:
            self._find()
        return answer

    def let_through(self) -> None:
        """The next question is asked even if the server did not answer just now: it may be the last one."""
        self._not_before = 0.0

    async def say_we_are_there(self) -> None:
        """Writes our name among the proxies, which nobody minds; a part of a question."""
        await self._there(keys=[cluster_order_store.PROXIES], args=[self._proxy])

    def lose(self, reason: str) -> None:
        """It has not answered."""
        self._leave_alone()
        if not self.is_lost and not self._over:
            self.is_lost = True
            self._context.counters.count("clusters_lost", amount=1)
            self._context.log(messages.CLUSTER_LOST, reason=reason)

    def _leave_alone(self) -> None:
        self._not_before = self._context.clock.now + AGAIN_SECONDS

    def _find(self) -> None:
        if self.is_lost:
            self.is_lost = False
            self._context.counters.count("clusters_lost", amount=-1)
            self._context.log(messages.CLUSTER_BACK)

    def begin_close(self) -> None:
        """Nobody is told any more that it is lost."""
        self._over = True

    async def close(self) -> None:
        """Nothing is asked any more: the connections go, and the gauge does not stay."""
        if self.is_lost:
            self.is_lost = False
            self._context.counters.count("clusters_lost", amount=-1)
        await self._connected.aclose()
