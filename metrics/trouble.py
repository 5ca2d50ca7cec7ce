"""What goes wrong while clients are served: things that fail, clients who wait, orders that a restart would forget,
certificates near their end. Pure.

A thing fails when it was found down, or a tenth of what was tried there in the last minute failed (Health in
supervisor/table/contents.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from metrics.duration import age
from supervisor.runtime.plural import count_of, noun
from supervisor.table.contents import CONDITIONS, DOWN, UP
from supervisor.table.segment import HealthReading

FAILING_SHARE = 0.1
MANY_WAITING = 10
SOON_DAYS = 21
"""Before its end a certificate is worth a word."""
_MOST_NAMED = 3
_ABOUT_THEN_SECONDS = 60.0
_DAY = 86400


class Concern(NamedTuple):
    """Something that an operator should know: in a few words, and what there is to say of it."""

    text: str
    detail: str = ""
    is_urgent: bool = True


def share(one: HealthReading) -> float:
    """Which part of what was tried in the last minute failed."""
    return one.bad / (one.good + one.bad) if one.bad else 0.0


def is_down(one: HealthReading) -> bool:
    """Whether it was found to be: then nothing is tried there."""
    return one.condition == DOWN


def is_failing(one: HealthReading) -> bool:
    return is_down(one) or one.bad >= FAILING_SHARE * (one.good + one.bad) > 0


def failing_first(found: Iterable[HealthReading]) -> list[HealthReading]:
    """Those that fail in front, the worst first; the others as they stood."""
    return sorted(found, key=lambda one: (not is_failing(one), not is_down(one), -share(one)))


def failure_of(one: HealthReading, now: float) -> tuple[str, ...]:
    """What there is to say of it: id, state, failures, attempts, share, last error, how long ago, for how long, for how
    many users.
    """
    state = one.condition if one.condition != UP else "fails" if is_failing(one) else ""
    since = since_when(one)
    failed = age(now - one.failed) if one.failed else ""
    return (
        *(one.ident, state, str(one.bad), str(one.good + one.bad)),
        *(f"{share(one):.0%}", last_error(one), failed, age(now - since) if since else "", users_of(one)),
    )


def is_worth_a_word(one: HealthReading) -> bool:
    """Whether anything of it failed in the last minute, or it is not what it should be."""
    return one.bad > 0 or one.condition != UP


def last_error(one: HealthReading) -> str:
    """Why it is down, or what failed there."""
    return one.why if one.condition != UP and one.why else one.reason


def without_its_words(one: HealthReading) -> HealthReading:
    """For who may not hear what the thing itself has said, which may name users, hosts and software: only the kind of
    failure, if there was one about when it was found out, or else who has found it.
    """
    if not one.why:
        return one
    is_of_it = one.reason and one.reason not in CONDITIONS and one.failed >= one.turned - _ABOUT_THEN_SECONDS
    return one._replace(why=one.reason if is_of_it else f"found by the {one.by}")


def users_of(one: HealthReading) -> str:
    """For how many users that is so: two digits and noughts, for it is an estimate; "" for nobody."""
    return f"{round(one.users, 2 - len(str(one.users))):,}" if one.users else ""


def since_when(one: HealthReading) -> float:
    """Since when that goes on."""
    return one.turned if one.condition != UP else one.since


def concerns(
    gauges: Mapping[str, int], healths: Mapping[str, Sequence[HealthReading]], now: float
) -> Iterator[Concern]:
    """All of them, the most important first."""
    yield from _missing_workers(gauges, now)
    for sort, found in healths.items():
        failing = [one for one in failing_first(found) if is_failing(one)]
        if failing:
            text = f"{len(failing)} of {count_of(len(found), sort)} {noun(len(failing), 'fails', 'fail')}"
            named = "; ".join(_told(one, now) for one in failing[:_MOST_NAMED])
            yield Concern(text, f"{named}{_more(len(failing))}.")
    if waiting := gauges.get("waiting", 0):
        text = f"{waiting:,} {noun(waiting, 'client')} {noun(waiting, 'waits', 'wait')} to be accepted"
        yield Concern(text, is_urgent=waiting >= MANY_WAITING)
    if orders := gauges.get("orders_not_kept", 0):
        text = f"{count_of(orders, 'order')} {noun(orders, 'is', 'are')} not kept on disk"
        yield Concern(text, "A restart would forget them; state_not_kept in the log says why.")
    if lines := gauges.get("audit_not_written", 0):
        text = f"{count_of(lines, 'line')} of the audit log could not be written"
        yield Concern(text, "The changes were made; audit_lost in the log has them.")
    if end := gauges.get("soonest_end", 0):
        days = int((end - now) // _DAY)
        if days < 0:
            yield Concern("a certificate has expired")
        elif days < SOON_DAYS:
            yield Concern(f"a certificate ends in {count_of(days, 'day')}")


def _missing_workers(gauges: Mapping[str, int], now: float) -> Iterator[Concern]:
    if missing := gauges.get("workers_missing", 0):
        configured = gauges["workers_configured"]
        others = "; the others accept who comes" if missing < configured else ""
        text = f"{missing} of {count_of(configured, 'worker')} {noun(missing, 'is', 'are')} missing"
        since = age(now - gauges["workers_missing_since"])
        yield Concern(text, f"Since {since}{others}; no_birth or worker_retry in the log says why.")


def lost_lines(count: int, *, of_late: bool) -> list[Concern]:
    """That lines of the log are missing. `of_late`: in the last minute, or else since the program began."""
    if not count:
        return []
    text = f"{count:,} {noun(count, 'log line was', 'log lines were')} lost"
    return [Concern(f"{text} {'in the last minute' if of_late else 'since the start'}", is_urgent=of_late)]


def _told(one: HealthReading, now: float) -> str:
    whom = f", for about {users_of(one)} {noun(one.users, 'user')}" if one.users else ""
    if is_down(one):
        return f"{one.ident}: down, {one.why}, since {age(now - one.turned)}{whom}"
    failed = f"{one.bad} of {one.good + one.bad} failed in the last minute"
    return f"{one.ident}: {failed}, {one.reason}, since {age(now - one.since)}{whom}"


def _more(failing: int) -> str:
    return f"; and {failing - _MOST_NAMED} more" if failing > _MOST_NAMED else ""
