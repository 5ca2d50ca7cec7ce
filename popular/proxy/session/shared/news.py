"""What the proxies of a cluster tell each other: who guesses, who has logged in, who is kicked, that orders changed;
and, for people, who is there (limits/cluster_listing.py).

Each worker looks for news a few times a second; whoever comes first takes them, for all workers of its proxy, into what
these remember together. So nobody waits for the server: each decision is made by what is remembered here, which is what
has happened here and, a quarter of a second late, elsewhere. While the server does not answer there are no news.
"""

import asyncio
from collections.abc import Container, Mapping
from contextlib import suppress
from functools import partial
from ipaddress import ip_network
from typing import Any

from popular.proxy import leases
from popular.proxy.cluster_order_store import ORDERED
from popular.proxy.session.limits.cluster import Cluster
from popular.proxy.session.limits.cluster_server import AGAIN_SECONDS
from popular.proxy.session.limits.limits import Limits
from popular.proxy.session.shared.cluster_order_sync import ClusterOrderSync
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import LimitRules
from popular.proxy.settings.operating import NETWORK
from popular.proxy.settings.order_sorts import LONGEST_DEADLINE, USER
from supervisor.control.language.outcome import SessionSweep
from supervisor.runtime.fault import kind_and_location_of
from supervisor.runtime.messages import SESSION_BUG
from supervisor.serving.context import WorkerContext
from supervisor.table.remembered import Entry

LOOK_SECONDS = 0.25
KICK_SECONDS = 30.0
"""A kick that is older is of no sessions of now."""
_AT_ONCE = 500
_MARKS_KEPT = 2000
"""So many of the last entries: one that was written twice comes again two seconds later at most."""
_LONGEST_MARK = 32
_NONE_YET = 1
_OF_A_MILLISECOND = 1000
"""Numbers of news are milliseconds times this, and which one of that millisecond it is."""


def number_of(ident: str) -> int:
    """The number of an entry of the stream, by its id: later ones have higher numbers."""
    milliseconds, _, place = ident.partition("-")
    return int(milliseconds) * _OF_A_MILLISECOND + min(int(place or 0), _OF_A_MILLISECOND - 1)


def latest_number(now: int) -> int:
    """The highest number of an entry that can have been written by now (milliseconds of the server's clock)."""
    return (now + int(1000 * leases.AHEAD_SECONDS)) * _OF_A_MILLISECOND


def begun(entry: Entry) -> tuple[Entry, None]:
    """That none is taken yet is told apart from what cannot be found out."""
    return entry._replace(until=entry.until or float(_NONE_YET)), None


def claimed(entry: Entry, upto: int) -> tuple[Entry, int]:
    """All news up to this number are taken; up to which they were before: 0 if that could not be found out."""
    before = int(entry.until)
    return (entry._replace(until=float(upto)) if before and upto > before else entry), before


def kick_of(fields: Mapping[str, str]) -> SessionSweep:
    """A kick as another proxy has told it, if it could have been said here: what lies on the server anybody may have
    written who can reach it. Raises KeyError, ValueError.
    """
    sort, ident = fields["sort"], fields["id"]
    deadline = int(fields["deadline"]) if fields["deadline"] else None
    if sort == NETWORK:
        ident = str(ip_network(ident))
    elif sort != USER or not ident.isprintable():
        raise ValueError(f"nobody else can kick a {sort}")
    if deadline is not None and not 0 <= deadline <= LONGEST_DEADLINE:
        raise ValueError("not a time")
    proxy = fields.get("proxy") or fields["by"]
    if not proxy.isprintable():
        raise ValueError("not a name")
    text = f"kick {sort} {ident}"
    return SessionSweep(text, sort=sort, id=ident, gentle=True, deadline=deadline, told_by=proxy)


class News:
    """One worker's, under one config."""

    def __init__(
        self, context: WorkerContext, cluster: Cluster, rules: LimitRules, *, backends: Container[str] = ()
    ) -> None:
        """Begins to listen; from whatever thread. `backends`: see ClusterOrderSync."""
        self._context = context
        self._cluster = cluster
        self._memory = context.open_remembered()
        self._digest = self._memory.digest("news")
        self._limits = Limits(rules, "", context)
        self._counts_guesses = rules.counts_guesses
        self._us = leases.this_proxy()
        self._orders = ClusterOrderSync(context, cluster, self._memory, backends=backends)
        self._last = ""
        self._marks: dict[str, None] = {}
        """What the entries seen last are known by, the latest after; whichever worker took them."""
        self._over = False
        self._listening: asyncio.Task[None] | None = None
        context.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if not self._over:
            self._listening = self._context.loop.create_task(self._listen())

    def close(self) -> None:
        """Another config is in force; from whatever thread."""
        self._over = True

    async def _listen(self) -> None:
        """Until another config is in force; an error of ours costs the news of one look."""
        while not self._over:
            try:
                await self._orders.look()
                await self._cluster.listing.look()
                full = await self._look()
            except Exception as error:
                self._context.log(SESSION_BUG, "-", error=kind_and_location_of(error))
                full = None
            if not full:
                await asyncio.sleep(AGAIN_SECONDS if full is None else LOOK_SECONDS)
        self._orders.close()

    def _kick(self, fields: Mapping[str, Any], age: float) -> None:
        """The master has it done. Who is kicked was there when it was said: a proxy that was away has others."""
        if age < KICK_SECONDS:
            self._context.request(kick_of(fields))

    async def _look(self) -> bool | None:
        """Whether there is more; None: the server does not answer."""
        known = int(self._memory.look(self._digest).until)
        if not known:
            self._memory.change(self._digest, begun)
            return False
        if not self._last and known > _NONE_YET:
            self._last = f"{known // _OF_A_MILLISECOND}-{known % _OF_A_MILLISECOND}"
        answer = await self._cluster.news(self._last, _AT_ONCE)
        if answer is None or self._over:  # what is not to be counted under this config may be under the next one
            return None
        now, told = answer
        found = [one for one in told if number_of(one[0]) <= latest_number(now)]  # ids of the future are none of ours
        if found:
            last = found[-1][0]
            before = self._memory.change(self._digest, partial(claimed, upto=number_of(last)))
            if not before:
                return False  # somebody had the lock for too long: the next time
            self._last = last
            for ident, words in found:
                fields = dict(zip(words[::2], words[1::2], strict=True))
                if self._is_new(fields.get(leases.NEWS_MARK, "")) and number_of(ident) > before:
                    self._take(fields, (now - int(ident.partition("-")[0])) / 1000)
        return len(found) == _AT_ONCE

    def _is_new(self, mark: str) -> bool:
        """Whether the entry is none that was there before. An older release writes no mark."""
        if mark in self._marks:
            return False
        if 0 < len(mark) <= _LONGEST_MARK:
            self._marks[mark] = None
            if len(self._marks) > _MARKS_KEPT:
                del self._marks[next(iter(self._marks))]
        return True

    def _take(self, fields: Mapping[str, Any], age: float) -> None:
        """What is nothing that we know, another release's say, is nothing to us."""
        if fields.get("by") in (self._cluster.run, self._us):
            return
        with suppress(KeyError, ValueError):
            if fields["what"] == ORDERED:
                self._orders.changed(fields["proxy"])
            elif fields["what"] == leases.KICKED:
                self._kick(fields, age)
            elif self._counts_guesses and fields["what"] in (leases.FAILED, leases.CAME_IN):
                who = Who(fields["address"], fields["namespace"], fields["user"])
                self._limits.hear(who, fields["what"], of_network=fields["of_network"] == "1", age=max(0.0, age))
