"""What a backend was found to lack that virtual servers announce (CAPA): the record that its check writes, for `backend
show` and a metric. What is found counts as long as the check goes on.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from supervisor.table.contents import Column, RecordShape

DRIFT = RecordShape(
    "drift",
    "backend",
    (
        Column("ident", "64s", "the backend"),
        Column("until", "d", "how long this counts, seconds since 1970"),
        Column("lacking", "I", "how many virtual servers announce something that it lacks"),
        Column("missing", "400s", "each of them with that"),
    ),
)


def record_of(ident: str, missing: Iterable[tuple[str, str]], until: float) -> dict[str, Any]:
    """The record that says it. `missing`: virtual servers, each with the names of capabilities."""
    rows = [f"{vserv}: {names}" for vserv, names in sorted(missing)]
    return {"ident": ident, "until": until, "lacking": len(rows), "missing": "\n".join(rows)}


def missing_of(record: Mapping[str, Any] | None, ident: str) -> list[str]:
    """What a record says of a backend now."""
    if record is None or record["ident"] != ident or record["until"] < time.time() or not record["lacking"]:
        return []
    return str(record["missing"]).split("\n")
