"""How well a backend is: the record that all workers share of it, and the words for it. Pure.

*up*, *down* and *recovering* are found out by ourselves, and stand beside the operator's `state`. What was found out of
another host, port or TLS than the backend has now counts for nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from popular.proxy.settings.announced import checksum_of, stamp
from popular.proxy.settings.announced import known_of as announced_of
from popular.proxy.settings.drift import DRIFT, missing_of
from popular.proxy.settings.healthuser import HEALTHUSER, told_of
from popular.proxy.settings.order_sorts import DRAINED_BACKEND, drain_of
from supervisor.control.language.context import CommandContext
from supervisor.table import contents
from supervisor.table.contents import Column, RecordShape

UP, DOWN, PROBING, RECOVERING = range(4)
WORDS = (contents.UP, contents.DOWN, contents.RECOVERING, contents.RECOVERING)
"""What people are told. While it is probed nobody has been let in yet; while it recovers a growing share is."""

MOST_NETWORKS = 8
_WIDTH = 9
_DIGESTS = ("networks", "users")
"""Fields of several digests, with blanks between them in the record."""
LONGEST_REASON = 120

HEALTH = RecordShape(
    "health",
    "backend",
    (
        Column("of", "Q", "checksum of what the backend was when this was found out"),
        Column("ident", "64s", "the backend"),
        Column("word", "12s", "how it is, in a word"),
        Column("state", "B", "0 up, 1 down, 2 being probed, 3 recovering"),
        Column("since", "d", "since when, seconds since 1970; 0: it was never anything but up"),
        Column("until", "d", "when it is looked at again without anybody's word"),
        Column("turns", "I", "how often in a row it went down again before it was up"),
        Column("by", "8s", "who found it down: the logins, or the check"),
        Column("why", f"{LONGEST_REASON}s", "why it is down, or was the last time"),
        Column("window", "d", "when the first of the failures was that count together"),
        Column("logins", "Q", "how many logins there had been then"),
        Column("failures", "I", "how many failed since"),
        Column("networks", f"{MOST_NETWORKS * _WIDTH}s", "digests of the networks whose logins those were"),
        Column("users", f"{MOST_NETWORKS * _WIDTH}s", "digests of the users; of the network where none was named yet"),
    ),
)


class Condition(NamedTuple):
    """How well a backend is; a record of HEALTH as a value."""

    state: int = UP
    since: float = 0.0
    until: float = 0.0
    turns: int = 0
    by: str = ""
    why: str = ""
    window: float = 0.0
    logins: int = 0
    failures: int = 0
    networks: tuple[str, ...] = ()
    users: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        return WORDS[self.state]


def is_of(record: Mapping[str, Any], backend: Any) -> bool:
    """Whether a record was written of a backend as it is configured now."""
    return bool(record["of"] == checksum_of(backend))


def condition_of(record: dict[str, Any] | None, backend: Any) -> Condition:
    """What a record says of a backend as it is configured now."""
    if record is None or not is_of(record, backend) or record["state"] >= len(WORDS):
        return Condition()
    facts = {name: record[name] for name in Condition._fields}
    return Condition(**facts | {name: tuple(record[name].split()) for name in _DIGESTS})


def record_of(condition: Condition, backend: Any) -> dict[str, Any]:
    """The record that says it."""
    facts = {"of": checksum_of(backend), "ident": backend.id, "word": condition.word}
    return condition._asdict() | facts | {name: " ".join(getattr(condition, name)) for name in _DIGESTS}


def known_of(context: CommandContext, backend: Any) -> tuple[Mapping[str, object], list[str]]:
    """What is known of a backend beyond its configuration: for JSON, and as comments for people."""
    facts, lines = announced_of(context, backend)
    condition = condition_of(context.status.records(HEALTH.name).get(backend.id), backend)
    found = {"condition": condition.word, "condition_since": stamp(condition.since), "condition_reason": condition.why}
    strayed = [
        f"# {name} has moved, to {', '.join(addresses)}: see `backend resolve`" for name, addresses in backend.strayed
    ]
    moved = {"host_moved": {name: list(addresses) for name, addresses in backend.strayed}}
    missing = missing_of(context.status.records(DRIFT.name).get(backend.id), backend.id)
    refused, refusal = told_of(context.status.records(HEALTHUSER.name).get(backend.id), backend.id)
    lacks = [f"# lacks what is announced by {one}" for one in missing]
    health = [f"# found: {told(condition)}"] if condition.since else []
    drain, drained = drain_of(context, DRAINED_BACKEND, backend.id)
    facts = {**facts, **found, **refused, **drain, **moved, "lacks": missing}
    return facts, [*drained, *health, *refusal, *strayed, *lacks, *lines]


def told(condition: Condition) -> str:
    """For people: how it is, since when and why."""
    since, was = stamp(condition.since), "it was down: " if condition.state == UP else ""
    why = f"({was}{condition.why})" if condition.why else ""
    return " ".join(filter(None, (condition.word, since and f"since {since}", why)))
