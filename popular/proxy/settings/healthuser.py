"""That a backend lets the mailbox of its check (`healthuser`) not in, and is well for all that: the record which the
check writes of it, for `backend show`, the status page and a metric. Pure, but for the clock.

A wrong password, or a mailbox that is in use, is the mailbox's affair, and one that thirty backends may share: whoever
refuses it is there. What is found counts as long as the check goes on.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from popular.protocol.printable import printable
from popular.proxy.settings.announced import stamp
from supervisor.table.contents import Column, RecordShape

_LONGEST_REFUSAL = 160

HEALTHUSER = RecordShape(
    "healthuser",
    "backend",
    (
        Column("ident", "64s", "the backend"),
        Column("until", "d", "how long this counts, seconds since 1970"),
        Column("refused", "B", "1: the mailbox of its check is refused; 0: it is not"),
        Column("refused_since", "d", "since when the mailbox of its check (healthuser) is refused"),
        Column("refusal", f"{_LONGEST_REFUSAL}s", "how it is refused, which is no fault of the backend"),
    ),
)


class HealthuserRefusal(NamedTuple):
    """Since when it is, and how, in the backend's words."""

    since: float
    how: str


def last_refusal(record: Mapping[str, Any] | None, ident: str) -> HealthuserRefusal | None:
    """What the check has found when it was answered last; None: it was let in, or never refused."""
    if record is None or record["ident"] != ident or not record["refused"]:
        return None
    return HealthuserRefusal(record["refused_since"], record["refusal"])


def told_of(record: Mapping[str, Any] | None, ident: str) -> tuple[dict[str, object], list[str]]:
    """What a record says of a backend now: for JSON, and as comments for people."""
    refused = last_refusal(record, ident) if record is not None and record["until"] >= time.time() else None
    if refused is None:
        return {"healthuser_refused": "", "healthuser_refused_since": None}, []
    since = stamp(refused.since)
    line = f"# {refused.how} (since {since}; no fault of the backend)"
    return {"healthuser_refused": refused.how, "healthuser_refused_since": since}, [line]


def record_of(ident: str, refused: HealthuserRefusal | None, until: float) -> dict[str, Any]:
    """The record that says it."""
    since, how = refused or (0.0, "")
    columns: dict[str, Any] = {"refused": int(refused is not None), "refused_since": since, "refusal": printable(how)}
    return columns | {"ident": ident, "until": until}
