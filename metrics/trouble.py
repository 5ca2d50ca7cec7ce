"""What goes wrong while clients are served: things that fail, clients who wait, certificates near their end. Pure.

A thing fails when a tenth of what was tried there in the last minute failed (see supervisor.table.layout.Health).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from metrics.duration import age
from supervisor.runtime.plural import count_of, noun
from supervisor.table.segment import HealthReading

FAILING_SHARE = 0.1
MANY_WAITING = 10
SOON_DAYS = 21
"""Before its end a certificate is worth a word."""
_MOST_NAMED = 3
_DAY = 86400


class Concern(NamedTuple):
    """Something that an operator should know: in a few words, and what there is to say of it."""

    text: str
    detail: str = ""
    is_urgent: bool = True


def share(one: HealthReading) -> float:
    """Which part of what was tried in the last minute failed."""
    return one.bad / (one.good + one.bad) if one.bad else 0.0


def is_failing(one: HealthReading) -> bool:
    return one.bad >= FAILING_SHARE * (one.good + one.bad) > 0


def failing_first(found: Iterable[HealthReading]) -> list[HealthReading]:
    """Those that fail in front, the worst first; the others as they stood."""
    return sorted(found, key=lambda one: (not is_failing(one), -share(one)))


def failure_of(one: HealthReading, now: float) -> tuple[str, ...]:
    """What there is to say of it: id, state, failures, attempts, share, last error, how long ago, for how long."""
    state = "fails" if is_failing(one) else ""
    since = age(now - one.since) if one.since else ""
    return (
        *(one.ident, state, str(one.bad), str(one.good + one.bad)),
        *(f"{share(one):.0%}", one.reason, age(now - one.failed), since),
    )


def concerns(
    gauges: Mapping[str, int], healths: Mapping[str, Sequence[HealthReading]], now: float
) -> Iterator[Concern]:
    """All of them, the most important first."""
    for sort, found in healths.items():
        failing = [one for one in failing_first(found) if is_failing(one)]
        if failing:
            text = f"{len(failing)} of {count_of(len(found), sort)} {noun(len(failing), 'fails', 'fail')}"
            named = "; ".join(_told(one, now) for one in failing[:_MOST_NAMED])
            yield Concern(text, f"{named}{_more(len(failing))}.")
    if waiting := gauges.get("waiting", 0):
        text = f"{waiting:,} {noun(waiting, 'client')} {noun(waiting, 'waits', 'wait')} to be accepted"
        yield Concern(text, is_urgent=waiting >= MANY_WAITING)
    if end := gauges.get("soonest_end", 0):
        days = int((end - now) // _DAY)
        if days < 0:
            yield Concern("a certificate has expired")
        elif days < SOON_DAYS:
            yield Concern(f"a certificate ends in {count_of(days, 'day')}")


def _told(one: HealthReading, now: float) -> str:
    failed = f"{one.bad} of {one.good + one.bad} failed in the last minute"
    return f"{one.ident}: {failed}, {one.reason}, since {age(now - one.since)}"


def _more(failing: int) -> str:
    return f"; and {failing - _MOST_NAMED} more" if failing > _MOST_NAMED else ""
