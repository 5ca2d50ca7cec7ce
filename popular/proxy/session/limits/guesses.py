"""How fast somebody may guess passwords, and what a failure costs him. Pure: entries in, entries out.

A guess is charged before the modules are asked, so that a thousand connections at once are no way around it, and given
back when it turns out to be none: the password was right, or nobody could tell.
"""

from typing import NamedTuple

from supervisor.table.remembered import RECENT, Entry

SPARED_SECONDS = 3600.0
"""For how long who has logged in from a network passes its limits there."""
SPARED_SCORE = 5.0
"""With so many failures of late he is spared no more."""
NETWORK_PATIENCE = 4
"""Failures of a network that weigh as much as one of a user there."""
MINUTE = 60.0


class Pace(NamedTuple):
    """At most so many in a time: some at once, and then one after each interval."""

    at_once: int
    interval: float

    @classmethod
    def of(cls, most: int, seconds: float) -> "Pace":
        """Never more than `most` in any such time (of one, two)."""
        at_once = max(1, most // 2)
        return cls(at_once, seconds / max(1, most - at_once))


def charged(entry: Entry, rate: Pace, now: float, *, most_wait: float) -> tuple[Entry, float]:
    """One more: the entry charged with it, and after how many seconds it may be. If that is more than `most_wait`,
    nothing is charged.
    """
    due = max(entry.due, now)
    wait = max(0.0, due - now - (rate.at_once - 1) * rate.interval)
    return (entry._replace(due=due + rate.interval) if wait <= most_wait else entry), wait


def given_back(entry: Entry, rate: Pace) -> tuple[Entry, None]:
    """A guess that was charged was none."""
    return entry._replace(due=max(0.0, entry.due - rate.interval)), None


def failed(entry: Entry, now: float, mark: int) -> tuple[Entry, tuple[float, bool]]:
    """One more failure, with the password of this mark: how many there are of late, and whether this one is new."""
    weight = entry.weight(now)
    if mark and mark in entry.recent and weight:
        return entry, (weight, False)
    recent = (mark, *entry.recent)[:RECENT] if mark else entry.recent
    return entry._replace(score=weight + 1.0, at=now, recent=recent), (weight + 1.0, True)


def succeeded(entry: Entry, now: float) -> tuple[Entry, None]:
    """He has logged in: his failures are forgotten, and he is spared for a while."""
    return entry._replace(score=0.0, at=0.0, until=now + SPARED_SECONDS, recent=(0,) * RECENT), None


def is_news(entry: Entry, now: float) -> bool:
    """Whether others are to be told that he has logged in: not again and again of who is spared for long still."""
    return entry.until < now + SPARED_SECONDS / 2 or entry.score > 0


def is_spared(entry: Entry, now: float) -> bool:
    """Whether the limits of his network are none of his."""
    return entry.until > now and entry.weight(now) < SPARED_SCORE


def delay(score: float, network: float, base: float, *, most: float) -> float:
    """For how long the reply is held back, with so many failures of the user there, and of his network."""
    steps = max(score - 1.0, network / NETWORK_PATIENCE - 1.0, 0.0)
    return float(min(most, base * 2.0 ** min(steps, 16.0)))
