"""The orders of a cluster, as one worker brings them together with those here: what is said at one holds at all.

One of a proxy's workers looks: when it has news of them, and every few seconds, so that nothing is missed for long. The
master alone changes orders; it gets what is new as if an operator had said it, with the proxy's name.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from ipaddress import ip_network
from typing import Any

from popular import messages
from popular.proxy.cluster_order_store import BACKEND, MOVE, ORDERED, SORTS, StoredOrder, reconciled
from popular.proxy.namesakes import identity_of, is_had_by, is_ours_alone, namesake_of, new_identity
from popular.proxy.session.limits.cluster import Cluster
from popular.proxy.settings.blocking import seconds_left
from popular.proxy.settings.cluster import TellGone
from popular.proxy.settings.order_sorts import HELD_USER, LOCKED_USER, USER, seconds_to_deadline
from popular.proxy.storeseen import KnownChange, ended
from supervisor.control.language.outcome import Action, Block, Ordered, SessionSweep
from supervisor.operatorstate import SHARED, OrderEntry
from supervisor.serving.context import WorkerContext
from supervisor.system import wall
from supervisor.table.blocked import BLOCKED
from supervisor.table.remembered import Entry, Remembered

LOOK_SECONDS = 10.0
"""Between two looks without news."""
_CLOCKS_APART_SECONDS = 5.0
"""Beyond that it is told."""


def due(entry: Entry, now: float) -> tuple[Entry, bool]:
    """Whether it is time to look; whoever is told so does it, for all workers."""
    return (entry._replace(until=now + LOOK_SECONDS), True) if entry.until <= now else (entry, False)


Gone = Callable[[OrderEntry], TellGone | None]
"""How the others hear that nobody is left of a user who is being moved; None: he is not, or they must not hear it."""


def actions_of(told: Iterable[StoredOrder], gone: Gone) -> list[Action]:
    """What the master is to do. What is said of one user at once is done at once: else he would come in at the old
    place when the hold has ended, and the new way is not known yet.
    """
    actions: list[Action] = []
    plain: dict[str, list[StoredOrder]] = {}
    for one in told:
        (sort, ident, value), by, leaves = one.entry, one.by, gone(one.entry)
        if sort == BLOCKED:
            seconds = 0 if value is None else seconds_left(value.get("until"), wall())
            if seconds != -1:
                block = partial(Block, text_of(one), network=ip_network(ident), seconds=seconds)
                actions.append(block(entries=(one.entry,), told_by=by))
        elif value is not None and by and (sort == LOCKED_USER or leaves is not None):
            sweep = partial(SessionSweep, text_of(one), sort=USER, id=ident, gentle=True)
            sweep = partial(sweep, deadline=seconds_to_deadline(sort, value, wall()))
            actions.append(sweep(entries=(one.entry,), gone=leaves, told_by=by))
        else:
            plain.setdefault(ident, []).append(one)
    for many in plain.values():
        entries = tuple(one.entry for one in many)
        actions.append(Ordered(", ".join(map(text_of, many)), entries=entries, told_by=many[0].by))
    return actions


def text_of(told: StoredOrder) -> str:
    """For the log, and the audit log."""
    begun = "" if told.entry.value is not None else "end of "
    return f"{begun}{told.entry.sort} {told.entry.id}"


class ClusterOrderSync:
    """One worker's, under one config."""

    def __init__(
        self, context: WorkerContext, cluster: Cluster, memory: Remembered, *, backends: Container[str]
    ) -> None:
        """`backends`: those that there are under this config."""
        self._context = context
        self._backends = backends
        self._cluster = cluster
        self._memory = memory
        self._digest = memory.digest("orders")
        self._news_of = ""
        """The proxy that has told last that something has changed."""
        self._is_unsaid = True
        """Who we are has not been said yet under this config: it may be that our name is new."""
        self._has_namesake = False

    def changed(self, proxy: str) -> None:
        """There is news: it is to be looked at once."""
        self._news_of = proxy

    async def look(self) -> None:
        """Looks, if it is time, or there is news. While the server does not answer it is tried again."""
        self._count_namesake()
        is_time = self._memory.change(self._digest, partial(due, now=wall()))
        is_first = self._is_unsaid and identity_of(self._context.operator.of(SHARED))
        if not (is_time or self._news_of or is_first):
            return
        self._is_unsaid = self._is_unsaid and not is_first
        before, known = self._here(), self._known()
        found = await self._cluster.orders()
        if found is None:
            return
        store, stored, at = found
        self._look_at_clocks(at)
        news_of, self._news_of = self._news_of, ""
        alone = await self._is_alone(is_time)
        made = reconciled(
            before,
            self._here(),
            stored,
            at=at,
            us=self._cluster.proxy,
            alone=alone,
            follows=store.follows(known),
            ended=ended(self._context.operator.of(SHARED), wall()),
        )
        seen = store.known
        if made.told or made.stale or not store.epoch:
            changed = await self._cluster.change_orders(made.told, made.stale)
            if changed is None:
                self._news_of = news_of
                return
            seen = changed
        taken = [one._replace(by=news_of or "?") if one.entry.value is None else one for one in made.taken]
        for action in actions_of(taken, self._gone):
            self._context.request(action)
        if seen != known and known == self._known():
            self._context.request(Ordered("", entries=(seen.entry(),)))

    async def _is_alone(self, is_time: bool) -> bool:
        """Whether it is certain that no other proxy has our name. One that has it is told once, and learns it at once,
        too.
        """
        kept, now = self._context.operator.of(SHARED), wall()
        identity = identity_of(kept)
        if not identity:
            if is_time:  # then no other worker does so
                self._context.request(Ordered("", entries=(new_identity(),)))
            return False
        found = await self._cluster.namesakes(identity)
        if not found:
            if found is not None and namesake_of(kept, now):
                self._context.request(Ordered("", entries=(is_ours_alone(),)))
            return found is not None
        if not namesake_of(kept, now):
            self._context.log(messages.CLUSTER_NAMESAKE, proxy=found[0].name, host=found[0].host)
            self._cluster.tell(ORDERED, proxy=self._cluster.proxy)
        self._context.request(Ordered("", entries=(is_had_by(found[0], now),)))
        return False

    def _look_at_clocks(self, at: float) -> None:
        """What is ordered until a time ends by the clock of each host."""
        ahead = wall() - at
        if abs(ahead) > _CLOCKS_APART_SECONDS:
            self._context.log(messages.CLUSTER_CLOCK, seconds=round(ahead))

    def _count_namesake(self) -> None:
        """For the metric, in each worker."""
        has_one = bool(namesake_of(self._context.operator.of(SHARED), wall()))
        if has_one != self._has_namesake:
            self._has_namesake = has_one
            self._context.counters.count("cluster_namesakes", amount=1 if has_one else -1)

    def close(self) -> None:
        """Another config is in force."""
        if self._has_namesake:
            self._has_namesake = False
            self._context.counters.count("cluster_namesakes", amount=-1)

    def _known(self) -> KnownChange:
        return KnownChange.of(self._context.operator.of(SHARED))

    def _here(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        operator = self._context.operator
        return {(sort, ident): value for sort in SORTS for ident, value in operator.of(sort).items()}

    def _gone(self, entry: OrderEntry) -> TellGone | None:
        """While another proxy has our name nobody is told: it would be believed of that one too, and his mail be copied
        while he is in it. So no proxy moves anybody meanwhile. Nor to a backend that there is not here: he could not
        log in here then, so nobody is ended for that.
        """
        value = entry.value or {}
        move, to = value.get(MOVE) if entry.sort == HELD_USER else None, value.get(BACKEND)
        if move is None or namesake_of(self._context.operator.of(SHARED), wall()):
            return None
        if to is not None and to not in self._backends:
            self._cluster.tell_lacking(move)
            return None
        return TellGone(*self._cluster.settings, move=move, us=self._cluster.proxy)
