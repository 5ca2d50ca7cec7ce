"""What a backend announces (CAPA, RFC 2449), as all workers know it: one record of the table for each backend.

A worker asks after a login, at most once a minute for each backend (session/backend/inquiry.py), and writes down what
it heard; `backend show` and whoever reads the table find it there. What was heard of another host, port or TLS than the
backend has now counts for nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

from supervisor.control.language.context import CommandContext
from supervisor.table.contents import Column, RecordShape

PIPELINING = "PIPELINING"
LONGEST = 1000
"""Octets of all capabilities together, a line end after each but the last; what is beyond them is not kept."""
LONGEST_LANGUAGES = 500
"""Octets of the languages that it lists, counted likewise."""

ANNOUNCED = RecordShape(
    "announced",
    "backend",
    (
        Column("of", "Q", "checksum of what the backend was when it was asked: address, port, TLS"),
        Column("asked", "d", "when it was last asked, seconds since 1970"),
        Column("heard", "d", "when it last answered; 0: it never did"),
        Column("mistrusted", "d", "until when it is not believed that it can do with PIPELINING"),
        Column("capabilities", f"{LONGEST}s", "the lines of its answer; none if it knows no CAPA"),
        Column("languages", f"{LONGEST_LANGUAGES}s", "the lines of its answer to LANG; none if it does not know that"),
    ),
)


def checksum_of(backend: Any) -> int:
    """Tells whether a record was written of the backend as it is configured now."""
    facts = (backend.id, backend.addresses, backend.port, backend.tls, backend.tlsname, backend.sendproxy)
    return crc32(repr(facts).encode())


def tags(capabilities: str) -> frozenset[str]:
    """The names of capabilities, without their arguments."""
    return frozenset(line.partition(" ")[0].upper() for line in capabilities.split("\n") if line)


def lines_of(text: str) -> list[str]:
    """The lines of a column."""
    return text.split("\n") if text else []


def mechanisms_in(capabilities: str) -> frozenset[str]:
    """The SASL mechanisms among these capabilities."""
    lines = (line.upper().split(" ") for line in capabilities.split("\n"))
    return frozenset(name for line in lines if line[0] == "SASL" for name in line[1:])


def known_of(context: CommandContext, backend: Any) -> tuple[Mapping[str, object], list[str]]:
    """What is known of a backend beyond its configuration: for JSON, and as comments for people."""
    record = context.status.records(ANNOUNCED.name).get(backend.id)
    if record is None or record["of"] != checksum_of(backend) or not record["heard"]:
        nothing = {"announces": None, "languages": None, "announced_at": None, "pipelining_mistrusted_until": None}
        return nothing, []
    lines, languages = lines_of(record["capabilities"]), lines_of(record["languages"])
    heard, until = stamp(record["heard"]), stamp(record["mistrusted"])
    said = f"# announces (at {heard}): {', '.join(lines) or 'nothing'}"
    tongues = [f"# languages: {', '.join(languages)}"] if languages else []
    doubt = [f"# pipelining: not before {until}, because it misbehaved"] if until else []
    facts = {"announces": lines, "languages": languages, "announced_at": heard, "pipelining_mistrusted_until": until}
    return facts, [said, *tongues, *doubt]


def stamp(seconds: float) -> str | None:
    """A moment for people; None if it never was."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
