"""How far somebody is from each limit, for `explain`: nothing is changed by looking."""

from typing import NamedTuple

from popular.pdm.contract import UserLimits
from popular.protocol.replies import Code
from popular.proxy.leases import HeldInCluster
from popular.proxy.session.limits import guesses
from popular.proxy.session.limits.limit_entries import LimitEntries
from popular.proxy.session.who import Who
from popular.proxy.settings.limits import (
    AUTHDELAY,
    CODES,
    GUESSRATE,
    LOGINDELAY,
    NETWORK_SESSIONS,
    USER_SESSIONS,
    VSERV_LOGINS,
    VSERV_SESSIONS,
    Limit,
)
from supervisor.table.remembered import Entry


class LimitUsage(NamedTuple):
    """How far somebody is from one limit."""

    limit: str
    mode: str
    """off, report or enforce; what a module says of a user is always in force."""
    most: float
    """What is allowed: sessions, seconds, guesses a minute, logins a second."""
    now: float
    """What there is: sessions, failures of late, seconds until the next one may come."""
    wait: float = 0.0
    """For how many seconds he would be held back: for authdelay, with a wrong password."""
    code: Code | None = None
    """With which he would be refused, were the limit in force if it is on trial; None: he would not."""


def limit_usages(
    entries: LimitEntries, who: Who, own: UserLimits | None = None, *, elsewhere: HeldInCluster | None = None
) -> list[LimitUsage]:
    """How he stands with each limit, in the order in which they are looked at. `elsewhere`: what is counted of him at
    all proxies of the cluster.
    """
    now, of, look = entries.clock.now, entries.rules.of, entries.memory.look
    pair, network, server = look(entries.pair(who)), look(entries.network(who)), look(entries.server())
    user, exempt = look(entries.user(who, own)), entries.is_exempt(who)
    sessions, pause = entries.limits_of_user(own)
    held, turn = (0.0, 0.0) if exempt else _waits(entries, pair, network)
    late = turn > entries.rules.authdelaymax
    held_by_user, until = user.held, max(0.0, user.until - now)
    if elsewhere is not None:
        held_by_user, until = max(held_by_user, elsewhere.sessions), max(until, elsewhere.seconds)
    logins = entries.logins
    second = guesses.charged(server, logins, now, most_wait=0.0)[1] if logins is not None else 0.0
    no_room = network.held >= of[NETWORK_SESSIONS].most and not exempt
    return [
        _usage(AUTHDELAY, of[AUTHDELAY], pair.weight(now), wait=held),
        _usage(GUESSRATE, of[GUESSRATE], network.weight(now), wait=min(turn, entries.rules.authdelaymax), beyond=late),
        _usage(NETWORK_SESSIONS, of[NETWORK_SESSIONS], network.held, beyond=no_room),
        _usage(VSERV_SESSIONS, of[VSERV_SESSIONS], server.held, beyond=server.held >= of[VSERV_SESSIONS].most),
        _usage(VSERV_LOGINS, of[VSERV_LOGINS], second, beyond=second > 0),
        _usage(USER_SESSIONS, sessions, held_by_user, beyond=held_by_user >= sessions.most),
        _usage(LOGINDELAY, pause, until, beyond=until > 0),
    ]


def _waits(entries: LimitEntries, pair: Entry, network: Entry) -> tuple[float, float]:
    """Seconds for which the reply to one more wrong login would be held back, and its question before that."""
    now, limit = entries.clock.now, entries.rules.of[AUTHDELAY]
    spared = guesses.is_spared(pair, now)
    failures = 0.0 if spared else network.weight(now) + 1.0
    held = 0.0
    if limit.counts:
        held = guesses.delay(pair.weight(now) + 1.0, failures, limit.most, most=entries.rules.authdelaymax)
    if entries.guesses is None or spared:
        return held, 0.0
    return held, guesses.charged(network, entries.guesses, now, most_wait=0.0)[1]


def _usage(name: str, limit: Limit, now: float, *, wait: float = 0.0, beyond: bool = False) -> LimitUsage:
    code = CODES[name] if limit.counts and beyond else None
    return LimitUsage(limit=name, mode=limit.mode, most=limit.most, now=now, wait=wait, code=code)
