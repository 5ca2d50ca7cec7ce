"""What the status page shows at one moment, as one value that JSON can hold.

    document(program, asked, Moment.present())

Reads and never writes. At most `MOST_ROWS` sessions are in a document; names and addresses in them are masked, and of
what fails only the kind is told, unless the query asks for all of it; whether it may is for page.py to decide.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics import selection
from metrics.detail import broken, detail, look_at_things, orders, without_their_words
from metrics.headline import headline, readings
from metrics.history import SHORTEST
from metrics.programseen import ProgramSeen
from metrics.selection import Filter, Session, SortOrder
from metrics.servers import servers_told
from metrics.silence import silence_of_workers, silent_workers
from metrics.trouble import failing_first, is_failing, last_error, lost_lines, share, since_when, without_its_words
from metrics.watch import Moment, total
from supervisor.runtime.load import Level
from supervisor.table.layout import Layout
from supervisor.table.segment import HealthReading
from supervisor.watched import ThingTable

MOST_ROWS = 1000
USUAL_ROWS = 100

_NOT_SHOWN = frozenset({"row", "pid", "port"})
"""Columns of the table that are of no use on a page."""
_TIMES = ("started", "since")
_OCTETS = ("received", "sent")
_HELP = {
    "state": "what is done for the client",
    "started": "time since the client was accepted",
    "since": "time since that began, or since octets were last seen to pass",
}
"""For the columns that every program has; shown are ages and phrases, not what stands in the table."""


class PageQuery(NamedTuple):
    """What somebody wants to see."""

    filter: str = ""
    sort: str = "started"
    reverse: bool = True
    rows: int = USUAL_ROWS
    users: bool = False
    """Names and addresses in full."""
    words: bool = False
    """What those that fail have said themselves."""
    span: str = SHORTEST
    thing: str = ""
    """One thing whose page it is, as "facts/id": then only its sessions are there."""


def document(program: ProgramSeen, asked: PageQuery, moment: Moment) -> dict[str, Any]:
    """The page at one moment. Raises UnknownColumn when the query sorts by a column that is none, UnknownThing when it
    asks for one that is not there.
    """
    view, facts = program.view, program.facts
    selection.check_columns([asked.sort], view.layout)
    sessions = program.watch.sessions(moment, asked.users)
    gauges, counters, healths = view.gauges(), view.counters(), view.healths()
    workers = view.workers()
    things = look_at_things(program, sessions)
    if not asked.words:
        healths = {sort: [without_its_words(one) for one in found] for sort, found in healths.items()}
        things = without_their_words(things)
    one = detail(program, asked.thing, things, now=moment.now, words=asked.words) if asked.thing else None
    said = headline(
        gauges,
        len(sessions),
        facts,
        healths=healths,
        now=moment.now,
        servers=servers_told(view, facts, program.watched.servers),
        standstill=program.why_not_alive() or silence_of_workers(workers, moment.ns),
        more=[*silent_workers(workers, moment.ns), *lost_lines(program.watch.lost_lines(), of_late=True)],
    )
    return {
        "program": program.name,
        "host": program.host,
        "version": program.version,
        "taken": round(moment.now, 3),
        "started": view.header.boot_time,
        "headline": said._asdict(),
        "broken": broken(things),
        "orders": orders(program),
        "thing": one,
        "totals": _totals(program, gauges, counters, sessions=len(sessions)),
        "history": _history(program, asked.span),
        "tables": [_described(table, program) for table in program.watched.tables],
        **{table.things.facts: _things(table, program, sessions, healths=healths) for table in program.watched.tables},
        "workers": _workers(program, sessions, moment.ns),
        "certificates": [_certificate(one, moment.now) for one in facts.get("certificates", ())],
        "sessions": _sessions(view.layout, _of_thing(program, sessions, asked.thing), asked),
    }


def _totals(
    program: ProgramSeen, gauges: Mapping[str, int], counters: Mapping[str, Any], *, sessions: int
) -> dict[str, Any]:
    rates = program.watch.history.rates()
    return {
        "sessions": sessions,
        "maxsession": gauges["maxsession"],
        "sessionlimit": program.view.layout.row_count,
        "session_state": Level(gauges["session_state"]).name,
        "load_state": Level(gauges["load_state"]).name,
        "readings": [one._asdict() for one in readings(gauges, program.facts)],
        **{graph.key: total(counters[graph.counter]) for graph in program.watched.graphs},
        **{f"{graph.key}_a_second": round(rates[graph.key], 1) for graph in program.watched.graphs},
        "started": total(counters["sessions_started"]),
        "draining": bool(gauges["draining"]),
        "generation": gauges["generation"],
        "workers": gauges["workers"],
    }


def _history(program: ProgramSeen, span: str) -> dict[str, Any]:
    """The graphs, and how they are called."""
    drawn = program.watch.history.series(span)
    counted = [(graph.key, graph.title, True) for graph in program.watched.graphs]
    graphs = [
        {"name": name, "title": title, "rate": rate, "values": drawn[name]}
        for name, title, rate in (("sessions", "Sessions", False), *counted, ("load", "Load", False))
    ]
    return {"span": drawn["span"], "step": drawn["step"], "points": drawn["points"], "graphs": graphs}


# --- things, workers, certificates ------------------------------------------------------------------------------------

_WAITING = {"name": "waiting", "title": "waiting", "help": "connections that nobody has accepted yet"}
_HEALTH = (
    {"name": "condition", "title": "found", "kind": "text", "help": "what it was found to be, beside its state"},
    {"name": "share", "title": "fails", "kind": "share", "help": "of what was tried in the last minute"},
    {"name": "reason", "title": "last error", "kind": "text", "help": ""},
    {"name": "since", "title": "for", "kind": "age", "help": "since when failures go on"},
)


def _described(table: ThingTable, program: ProgramSeen) -> dict[str, Any]:
    """What a table on the page is called, and its columns after those that every one has."""
    columns = [_WAITING | {"kind": "number"}] if table is program.watched.servers else []
    columns += [{"name": one.key, "title": one.title, "kind": "number", "help": ""} for one in table.counted]
    return {
        "name": table.things.facts,
        "title": table.title,
        "has_page": table.health is not None,
        "columns": [*columns, *(_HEALTH if table.health is not None else ())],
    }


def _things(
    table: ThingTable,
    program: ProgramSeen,
    sessions: Sequence[Session],
    *,
    healths: Mapping[str, Sequence[HealthReading]],
) -> list[dict[str, Any]]:
    """A line for each; those that fail stand first. `waiting`: connections that nobody has accepted yet."""
    described = program.facts.get(table.things.facts, ())
    waiting: Counter[str] = Counter()
    for queue in program.pulse.queues if program.pulse is not None else ():
        waiting[queue.listener] += queue.length
    # Sessions that do not tell whose they are belong to the only thing that there is.
    column, only = table.things.column, described[0]["id"] if described else ""
    held = Counter(session[column] if column else only for session in sessions)
    counted = _counted(program, table)
    lines = [
        _place(one, table.host)
        | {"sessions": held[one["id"]]}
        | ({"waiting": waiting[one["id"]]} if table is program.watched.servers else {})
        | {name: numbers.get(one["id"], 0) for name, numbers in counted.items()}
        for one in described
    ]
    if table.health is None:
        return lines
    found = {one.ident: one for one in healths[table.health.by]}
    order = {one.ident: place for place, one in enumerate(failing_first(found.values())) if is_failing(one)}
    lines.sort(key=lambda line: order.get(line["id"], len(order)))
    return [line | _health(found.get(line["id"])) for line in lines]


def _health(one: HealthReading | None) -> dict[str, Any]:
    """Shares are of the last minute; `since` and `failed` seconds since 1970, None if there is nothing to say."""
    if one is None:
        return {
            "failing": False,
            "share": None,
            "tried": 0,
            "reason": "",
            "failed": None,
            "since": None,
            "condition": "",
        }
    return {
        "failing": is_failing(one),
        "share": round(share(one), 3) if one.good + one.bad else None,
        "tried": one.good + one.bad,
        "reason": last_error(one),
        "failed": one.failed or None,
        "since": since_when(one) or None,
        "condition": one.condition,
    }


def _counted(program: ProgramSeen, table: ThingTable) -> dict[str, dict[str, int]]:
    """Key → id → number."""
    found = program.view.readings()
    return {one.key: {reading.ident: sum(reading.numbers) for reading in found[one.counter]} for one in table.counted}


def _place(thing: Mapping[str, Any], host: str) -> dict[str, Any]:
    address = f"[{thing[host]}]" if ":" in thing[host] else thing[host]  # a backend may have none yet
    place = f"{address}:{thing['port']}" if address else ""
    return {
        "id": thing["id"],
        "state": thing["state"],
        "address": place,
        "protocol": thing["protocol"],
    }


def _workers(program: ProgramSeen, sessions: Sequence[Session], now_ns: int) -> list[dict[str, Any]]:
    held = Counter(session["pid"] for session in sessions)
    return [
        {
            "slot": worker["slot"],
            "pid": worker["pid"],
            "silent_seconds": _silent_seconds(worker, now_ns),
            "lag_seconds": round(worker["lag_ns"] / 1e9, 4),
            "resident_bytes": worker["resident_bytes"] or None,
            "sessions": held[worker["pid"]],
        }
        for worker in sorted(program.view.workers(), key=lambda worker: (worker["slot"], worker["generation"]))
    ]


def _silent_seconds(worker: Mapping[str, int], now_ns: int) -> float | None:
    """How long its loop has not turned; it beats once a second. None if it never did."""
    beat = worker["heartbeat_ns"]
    return round(max(0, now_ns - beat) / 1e9, 1) if beat else None


def _certificate(certificate: Mapping[str, Any], now: float) -> dict[str, Any]:
    return {**certificate, "days_left": int((certificate["not_after"] - now) // 86400)}


# --- sessions ---------------------------------------------------------------------------------------------------------


def _sessions(layout: Layout, sessions: Sequence[Session], asked: PageQuery) -> dict[str, Any]:
    names = _shown_columns(layout)
    filters = [Filter("", asked.filter.casefold())] if asked.filter else []
    found = selection.select(sessions, filters, SortOrder(asked.sort, asked.reverse))
    helps = {column.name: column.help for column in layout.columns} | _HELP
    return {
        "columns": [{"name": name, "kind": _kind(name, layout), "help": helps.get(name, "")} for name in names],
        "rows": [[session[name] for name in names] for session in found[: asked.rows]],
        "tones": {state: selection.tone(state, layout) for state in layout.states},
        "found": len(found),
        "all": len(sessions),
        "masked": not asked.users,
    }


def _of_thing(program: ProgramSeen, sessions: Sequence[Session], thing: str) -> Sequence[Session]:
    """Those that have it."""
    facts, _, ident = thing.partition("/")
    column = next((table.things.column for table in program.watched.tables if table.things.facts == facts), "")
    return [session for session in sessions if session[column] == ident] if column else sessions


def _shown_columns(layout: Layout) -> list[str]:
    """Texts, then the state, times, and other numbers: as one reads about a session."""
    numeric = selection.numeric_columns(layout)
    shown = [name for name in selection.columns(layout) if name not in _NOT_SHOWN]
    texts = [name for name in shown if name not in numeric and name != "state"]
    numbers = [name for name in shown if name in numeric and name not in _TIMES]
    return [*texts, "state", *_TIMES, *numbers]


def _kind(name: str, layout: Layout) -> str:
    if name in _TIMES:
        return "time"
    if name in _OCTETS:
        return "octets"
    return "number" if name in selection.numeric_columns(layout) else "text"
