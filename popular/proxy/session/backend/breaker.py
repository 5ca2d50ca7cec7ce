"""When a backend counts as down, by what its logins meet, and how it comes back. Pure: conditions in, conditions out.

    up ──► down ──► probing ──► recovering ──► up
             ▲         │             │
             └─────────┴─────────────┘

It goes down when clients of several networks met failures of it within a window, and as many failed as were let in: so
nobody whom it hates closes it for others. Nor does anybody whose mailbox is broken, from wherever he comes: failures
after a user's name must be of as many users as of networks. While it is down nobody asks it. Then it
is probed, by one login of each of so many networks; the first that is answered, let in or with a password refused,
begins the recovery, in which a share of the logins is let through that grows to all of them.
"""

import math
from typing import NamedTuple

from popular.protocol.printable import printable
from popular.proxy.settings.backend import LONGEST_INTERVAL
from popular.proxy.settings.health import DOWN, LONGEST_REASON, MOST_NETWORKS, PROBING, RECOVERING, UP, Condition

PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 60.0
"""For how long it is left alone: at first, and after it went down again and again."""
PROBE_SECONDS = 15.0
"""Who probed it and was not heard of for so long may do so again."""
_ROUNDING = 1.0
LEAST_SHARE = 0.1
"""With so much the recovery begins."""
LOGINS, CHECK = "logins", "check"
"""Who found it down."""


class BreakerTerms(NamedTuple):
    """What is configured."""

    networks: int
    """So many, and as many users, have to meet failures; 0: logins close nothing."""
    window: float
    slowstart: float
    """For so many seconds it recovers."""


def failed(
    condition: Condition, terms: BreakerTerms, now: float, *, network: str, user: str, why: str, logins: int
) -> Condition:
    """A login failed by the backend's fault. `user`: who was named to it, "" if nobody was yet, which may be anybody's
    failure; `logins`: how many it has let in so far.
    """
    if condition.state == DOWN or not terms.networks:
        return condition
    if condition.state == PROBING:
        if network not in condition.networks:
            return condition  # a login of before
    elif _is_over(condition, terms, now, logins=logins):
        condition = condition._replace(window=now, logins=logins, failures=0, networks=(), users=())
    networks, users = _with(condition.networks, network), _with(condition.users, user or network)
    condition = condition._replace(failures=condition.failures + 1, networks=networks, users=users)
    clients = condition.failures if condition.state == PROBING else len(networks)
    return fallen(condition, now, by=LOGINS, why=why) if min(clients, len(users)) >= terms.networks else condition


def _with(digests: tuple[str, ...], one: str) -> tuple[str, ...]:
    return digests if one in digests or len(digests) >= MOST_NETWORKS else (*digests, one)


def _is_over(condition: Condition, terms: BreakerTerms, now: float, *, logins: int) -> bool:
    """Whether what failed before this counts no more: it is long ago, or more were let in since."""
    return not 0 <= now - condition.window <= terms.window or logins - condition.logins > condition.failures


def fallen(condition: Condition, now: float, *, by: str, why: str, least: float = 0.0) -> Condition:
    """It is down from now on. `least`: for how many seconds, whatever the logins would want. `why`: maybe in words of
    its own, which are shown on terminals.
    """
    turns = condition.turns + 1
    pause = max(least, min(PAUSE_SECONDS * 2 ** min(turns - 1, 8), LONGEST_PAUSE_SECONDS))
    since = condition.since if condition.state in (DOWN, PROBING) else now
    return Condition(DOWN, since, now + pause, turns=turns, by=by, why=printable(why)[:LONGEST_REASON])


def passed(condition: Condition, terms: BreakerTerms, now: float, *, logins: int) -> Condition:
    """What has become of it by the time, and by the logins that it has let in."""
    over = not condition.since <= now < condition.until or condition.until - now > _longest(condition)
    match condition.state:
        case state if state == DOWN and over:
            return _probed(condition, now, logins)
        case state if state == PROBING and logins > condition.logins:
            return recovered(condition, terms, now, logins=logins)
        case state if state == PROBING and over:
            return _probed(condition, now, logins)
        case state if state == RECOVERING and over:
            return condition._replace(state=UP, since=now, turns=0)
    return condition


def _longest(condition: Condition) -> float:
    """How far ahead its end may be; if it is farther, the clock was wrong when it was written."""
    if condition.state == PROBING:
        return PROBE_SECONDS + _ROUNDING
    if condition.state == DOWN:
        return (LONGEST_PAUSE_SECONDS if condition.by == LOGINS else 3.0 * LONGEST_INTERVAL) + _ROUNDING
    return math.inf  # the beginning of its recovery is in the future then


def _probed(condition: Condition, now: float, logins: int) -> Condition:
    since = min(condition.since, now)  # a clock may go back
    fresh = condition._replace(state=PROBING, since=since, until=now + PROBE_SECONDS)
    return fresh._replace(logins=logins, failures=0, networks=(), users=())


def answered(condition: Condition, terms: BreakerTerms, now: float, *, network: str, logins: int) -> Condition:
    """It has refused a user, as it should: so it is there. Else who sends wrong passwords from enough networks would
    have all probes, and nobody would ever be let in.
    """
    if condition.state != PROBING or network not in condition.networks:
        return condition
    return recovered(condition, terms, now, logins=logins)


def taken_back(condition: Condition, *, network: str) -> Condition:
    """The probe of a network was none: its client hung up, or never came so far. Anybody may be one instead, he too."""
    if condition.state != PROBING or network not in condition.networks:
        return condition
    return condition._replace(networks=tuple(one for one in condition.networks if one != network))


def recovered(condition: Condition, terms: BreakerTerms, now: float, *, logins: int) -> Condition:
    """Somebody was let in or refused, or the check was let in."""
    fresh = condition._replace(window=now, logins=logins, failures=0, networks=(), users=())
    if terms.slowstart <= 0:
        return fresh._replace(state=UP, since=now, turns=0)
    return fresh._replace(state=RECOVERING, since=now, until=now + terms.slowstart)


def let_through(
    condition: Condition, terms: BreakerTerms, now: float, *, network: str, draw: float
) -> Condition | None:
    """The condition when one more login is let through; None: it is not. `draw`: anything from 0 to 1."""
    if condition.state == DOWN:
        return None
    if condition.state == PROBING:
        tried = condition.networks
        if network in tried or len(tried) >= max(1, terms.networks):
            return None
        return condition._replace(networks=(*tried, network))
    if condition.state == RECOVERING and draw >= share(condition, terms, now):
        return None
    return condition


def share(condition: Condition, terms: BreakerTerms, now: float) -> float:
    """Which part of the logins is let through while it recovers."""
    return max(LEAST_SHARE, 1 - (condition.until - now) / terms.slowstart) if terms.slowstart > 0 else 1.0
