"""The page of one thing: how it is and why, its last failures, how long it takes, what the operator has made of it.

    broken(tables)                   what fails now, since when, for how many: in front of everything
    detail(program, "things/id", …)    one of them

Pure, as snapshot.py, which puts it all together. What it shows of a record is what the record says of itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics.latency import Latency
from metrics.programseen import ProgramSeen
from metrics.selection import Session
from metrics.things import ThingSeen, seen
from metrics.trouble import last_error, since_when, without_its_words
from supervisor.table.contents import UP, Column
from supervisor.watched import ThingTable

MOST_BROKEN = 20
_HIDDEN = frozenset({"ident", "of", "word", "state", "since", "why", "networks", "refused"})
"""Columns of a record that are of no use to people, or stand above."""
_END = "until"
_FORMS = {"d": "moment", "I": "number", "Q": "number", "B": "number"}


class UnknownThing(ValueError):
    """There is none of that name; the text is for people."""


class SeenTable(NamedTuple):
    """A sort of things that can fail, and all of them."""

    table: ThingTable
    found: list[ThingSeen]


def look_at_things(program: ProgramSeen, sessions: Sequence[Session]) -> list[SeenTable]:
    """All of the sorts whose health is kept."""
    return [
        SeenTable(table, seen(program.view, table.look, sessions, recent=program.watch.recent))
        for table in program.watched.tables
        if table.health is not None
    ]


def without_their_words(tables: Sequence[SeenTable]) -> list[SeenTable]:
    """For who may not hear what things have said themselves."""
    return [
        SeenTable(table, [one._replace(health=without_its_words(one.health)) for one in found])
        for table, found in tables
    ]


def broken(tables: Sequence[SeenTable]) -> dict[str, Any]:
    """What fails: since when (seconds since 1970), why, for how many users since then, and how many logins had to do
    with it in the last minute.
    """
    failing = [(table, one) for table, found in tables for one in found if one.is_failing]
    rows = [
        {
            "what": f"{table.one} {one.ident}",
            "thing": f"{table.things.facts}/{one.ident}",
            "how": one.health.condition if one.health.condition != UP else "fails",
            "since": since_when(one.health) or None,
            "users": one.health.users,
            "refused": one.health.bad,
            "tried": one.health.good + one.health.bad,
            "sessions": one.sessions,
            "why": last_error(one.health),
        }
        for table, one in failing[:MOST_BROKEN]
    ]
    return {"rows": rows, "all": len(failing)}


def orders(program: ProgramSeen) -> list[dict[str, Any]]:
    """What the operator has ordered beside the configuration: how many of each sort, and since when the oldest is."""
    told = program.pulse.orders if program.pulse is not None else ()
    words = program.watched.orders
    return [{"what": words.get(one.sort, one.sort), "count": one.number, "since": one.since or None} for one in told]


def detail(
    program: ProgramSeen, wanted: str, tables: Sequence[SeenTable], *, now: float, words: bool
) -> dict[str, Any]:
    """The page of one thing. `words`: for who may hear what it has said itself. Raises UnknownThing."""
    facts, _, ident = wanted.partition("/")
    for table, found in tables:
        for one in found:
            if (table.things.facts, one.ident) == (facts, ident):
                page = _detail(program, table, one)
                page["facts"] += _found(program, table, ident, now=now, words=words)
                return page
    raise UnknownThing(f"thing: there is no {wanted} that can fail")


def _detail(program: ProgramSeen, table: ThingTable, one: ThingSeen) -> dict[str, Any]:
    health, layout = one.health, program.view.layout
    facts = program.facts.get(table.things.facts, ())
    described: Mapping[str, Any] = next((it for it in facts if it["id"] == one.ident), {})
    columns = {row.name: row.columns for row in layout.records}
    record = table.health.record if table.health is not None else ""
    found = program.view.records(record).get(one.ident, {})
    found = found if found.get("ident") == one.ident else {}
    return {
        "title": f"{table.one.capitalize()} {one.ident}",
        "state": described.get("state", one.state),
        "found": health.condition,
        "failing": one.is_failing,
        "since": since_when(health) or None,
        "why": last_error(health),
        "good": health.good,
        "bad": health.bad,
        "users": health.users,
        "facts": [
            *({"title": title, "kind": "text", "value": str(text)} for title, text in _about(described)),
            *_told(columns.get(record, ()), found),
            *_told(columns.get(table.standing, ()), one.standing),
        ],
        "counted": [{"title": "sessions", "value": one.sessions}]
        + [{"title": title, "value": value} for title, value in one.counted.items()],
        "took": [{"title": title, **_took(took)} for title, took in one.took.items()],
        "failures": [seen._asdict() for seen in program.watch.failures.of(table.things.sort, one.ident)],
    }


def _found(program: ProgramSeen, table: ThingTable, ident: str, *, now: float, words: bool) -> list[dict[str, Any]]:
    """What stands in further records of it, as long as that counts."""
    told = []
    for row in program.view.layout.records:
        record = program.view.records(row.name).get(ident, {}) if row.name in table.found else {}
        if record.get("ident") == ident and record[_END] >= now:
            told += _told([column for column in row.columns if column.name != _END], record)
    return [one for one in told if words or one["kind"] != "text"]


def _about(described: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(title, text) for title, text in described.get("about", {}).items() if text]


def _told(columns: Sequence[Column], record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What stands in a record, under what it says of its columns; of moments and numbers only what there is."""
    return [
        {"title": column.help.partition(";")[0], "kind": _FORMS.get(column.form, "text"), "value": record[column.name]}
        for column in columns
        if column.name not in _HIDDEN and record.get(column.name)
    ]


def _took(took: Latency | None) -> dict[str, Any]:
    if took is None:
        return {"times": 0, "mean": None, "median": None, "late": None}
    return {name: value if name == "times" else round(value, 6) for name, value in took._asdict().items()}
