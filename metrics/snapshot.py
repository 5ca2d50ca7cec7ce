"""What the status page shows at one moment, as one value that JSON can hold.

    document(known, asked, Moment.present())

Reads and never writes. At most `MOST_ROWS` sessions are in a document; names and addresses in them are masked unless
the asked says otherwise, and whether it may is for page.py to decide.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics import selection
from metrics.headline import headline, readings
from metrics.history import SHORTEST
from metrics.known import Known
from metrics.selection import Filter, Session, SortOrder
from metrics.watch import FAILURES, LOGINS, Moment, first_of, total
from supervisor.runtime.load import Level
from supervisor.table.layout import Layout

MOST_ROWS = 1000
USUAL_ROWS = 100

_NOT_SHOWN = frozenset({"row", "pid", "port"})
"""Columns of the table that say nothing to somebody who looks at a page."""
_TIMES = ("started", "since")
_OCTETS = ("received", "sent")
_HELP = {
    "state": "what is done for the client",
    "started": "time since the client was accepted",
    "since": "time since that began",
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
    span: str = SHORTEST


def document(known: Known, asked: PageQuery, moment: Moment) -> dict[str, Any]:
    """The page at one moment. Raises UnknownColumn when the asked sorts by a column that is none."""
    view, facts = known.view, known.facts
    selection.check_columns([asked.sort], view.layout)
    sessions = known.watch.sessions(moment, asked.users)
    gauges, counters = view.gauges(), view.counters()
    return {
        "program": known.program,
        "version": known.version,
        "taken": round(moment.now, 3),
        "started": view.header.boot_time,
        "headline": headline(gauges, len(sessions), facts)._asdict(),
        "totals": _totals(known, gauges, counters, sessions=len(sessions)),
        "history": _history(known, counters, asked.span),
        "vservs": _vservs(known, sessions),
        "backends": _backends(known, sessions),
        "workers": _workers(known, sessions, moment.ns),
        "certificates": [_certificate(one, moment.now) for one in facts.get("certificates", ())],
        "sessions": _sessions(view.layout, sessions, asked),
    }


def _totals(known: Known, gauges: Mapping[str, int], counters: Mapping[str, Any], *, sessions: int) -> dict[str, Any]:
    logins_a_second, failures_a_second = known.watch.history.rates()
    return {
        "sessions": sessions,
        "maxsession": gauges["maxsession"],
        "sessionlimit": known.view.layout.row_count,
        "session_state": Level(gauges["session_state"]).name,
        "load_state": Level(gauges["load_state"]).name,
        "readings": [one._asdict() for one in readings(gauges, known.facts)],
        "logins": first_of(counters, LOGINS),
        "failures": first_of(counters, FAILURES),
        "logins_a_second": round(logins_a_second, 1),
        "failures_a_second": round(failures_a_second, 1),
        "started": total(counters["sessions_started"]),
        "draining": bool(gauges["draining"]),
        "generation": gauges["generation"],
        "workers": gauges["workers"],
    }


def _history(known: Known, counters: Mapping[str, Any], span: str) -> dict[str, Any]:
    """The graphs, and how they are called; a program that does not count something has no graph of it."""
    drawn = known.watch.history.series(span)
    titles = {"sessions": "Sessions", "logins": "Logins", "failures": "Failed logins", "load": "Load"}
    if "logins" not in counters:
        titles["logins"] = "Mailboxes opened"
    if first_of(counters, FAILURES) is None:
        del titles["failures"]
    graphs = [
        {"name": name, "title": title, "rate": name in ("logins", "failures"), "values": drawn[name]}
        for name, title in titles.items()
    ]
    return {"span": drawn["span"], "step": drawn["step"], "points": drawn["points"], "graphs": graphs}


# --- servers, backends, workers, certificates -------------------------------------------------------------------------


def _vservs(known: Known, sessions: Sequence[Session]) -> list[dict[str, Any]]:
    """`waiting`: connections that nobody has accepted yet."""
    vservs = known.facts.get("vservs", ())
    waiting: Counter[str] = Counter()
    for queue in known.pulse.queues if known.pulse is not None else ():
        waiting[queue.listener] += queue.length
    # A program whose sessions do not tell their server has only one.
    only = vservs[0]["id"] if vservs else ""
    held = Counter(session.get("vserv", only) for session in sessions)
    counted = _counted(known, {"logins": "logins", "failures": "login_failures"})
    return [
        _place(vserv, "iface")
        | {"sessions": held[vserv["id"]], "waiting": waiting[vserv["id"]]}
        | {name: numbers.get(vserv["id"], 0) for name, numbers in counted.items()}
        for vserv in vservs
    ]


def _backends(known: Known, sessions: Sequence[Session]) -> list[dict[str, Any]]:
    held = Counter(session.get("backend", "") for session in sessions)
    counted = _counted(known, {"logins": "backend_logins", "failures": "backend_failures"})
    return [
        _place(backend, "host")
        | {"sessions": held[backend["id"]]}
        | {name: numbers.get(backend["id"], 0) for name, numbers in counted.items()}
        for backend in known.facts.get("backends", ())
    ]


def _counted(known: Known, names: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Those of the counters that the program has: name → id → number."""
    found = known.view.readings()
    return {
        name: {reading.ident: sum(reading.numbers) for reading in found[counter]}
        for name, counter in names.items()
        if counter in found
    }


def _place(thing: Mapping[str, Any], host: str) -> dict[str, Any]:
    protocol = thing["prot"]
    if thing.get("starttls", "off") != "off":
        protocol += f"+STLS{' forced' if thing['starttls'] == 'force' else ''}"
    address = f"[{thing[host]}]" if ":" in thing[host] else thing[host]  # a backend may have none yet
    place = f"{address}:{thing['port']}" if address else ""
    return {
        "id": thing["id"],
        "state": thing["state"],
        "address": place,
        "protocol": protocol,
    }


def _workers(known: Known, sessions: Sequence[Session], now_ns: int) -> list[dict[str, Any]]:
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
        for worker in sorted(known.view.workers(), key=lambda worker: (worker["slot"], worker["generation"]))
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
        "tones": {state: selection.tone(state) for state in layout.states},
        "found": len(found),
        "all": len(sessions),
        "masked": not asked.users,
    }


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
