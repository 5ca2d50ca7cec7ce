"""What the status page shows at one moment, as one value that JSON can hold.

    watch = Watch(view)                              over a living table
    watch.sample(moment)                             once a second, for the graphs
    document(watch, facts, wish, moment)             the whole page

Reads the table and never writes it. A table of 10,000 sessions takes a tenth of a second to read, so that it is read
at most once a second, whoever asks, and at most `MOST_ROWS` sessions are in a document. Names and addresses are masked
unless the wish says otherwise; whether it may is for page.py to decide.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics import selection
from metrics.headline import headline, readings
from metrics.history import SHORTEST, History, Sample
from metrics.selection import Filter, Order, Session
from supervisor.load import Level
from supervisor.table.segment import View

MOST_ROWS = 1000
USUAL_ROWS = 100
FRESH_SECONDS = 1.0

_NOT_SHOWN = frozenset({"row", "pid", "port"})
"""Columns of the table that say nothing to somebody who looks at a page."""
_TIMES = ("started", "since")
_OCTETS = ("received", "sent")

LOGINS = ("logins", "mailboxes_opened", "opened")
"""The counter of what goes well: the first that the program has."""
FAILURES = ("login_failures",)


class Moment(NamedTuple):
    """One instant on the two clocks that are in use."""

    now: float
    """Seconds since 1970."""
    ns: int
    """Nanoseconds of the monotonic clock."""

    @classmethod
    def present(cls) -> "Moment":
        return cls(time.time(), time.monotonic_ns())


class Wish(NamedTuple):
    """What somebody wants to see."""

    filter: str = ""
    sort: str = "started"
    reverse: bool = True
    rows: int = USUAL_ROWS
    users: bool = False
    """Names and addresses in full."""
    span: str = SHORTEST


class Watch:
    """A table under observation: its rows, read not too often, and its recent history."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.history = History()
        self._sessions: list[Session] = []
        self._masked: list[Session] | None = None
        self._read_ns = -1

    def sample(self, moment: Moment) -> None:
        """Adds a point to the history."""
        counters, gauges = self.view.counters(), self.view.gauges()
        self.history.add(
            Sample(
                moment.ns / 1e9,
                living(counters),
                first_of(counters, LOGINS) or 0,
                first_of(counters, FAILURES) or 0,
                gauges["load_hundredths"] / 100,
            )
        )

    def sessions(self, moment: Moment, users: bool) -> list[Session]:
        """The living sessions, masked unless `users`. Not to be changed."""
        if self._read_ns < 0 or moment.ns - self._read_ns > FRESH_SECONDS * 1e9:
            self._sessions, self._masked, self._read_ns = self.view.sessions(), None, moment.ns
        if users:
            return self._sessions
        if self._masked is None:
            self._masked = [selection.masked(session) for session in self._sessions]
        return self._masked


def document(watch: Watch, facts: Mapping[str, Any], wish: Wish, moment: Moment) -> dict[str, Any]:
    """The page at one moment. Raises UnknownColumn when the wish sorts by a column that is none."""
    view = watch.view
    selection.check_columns([wish.sort], view.layout)
    sessions = watch.sessions(moment, wish.users)
    gauges, counters = view.gauges(), view.counters()
    return {
        "program": facts.get("program") or view.layout.program.rstrip(b"\0").decode("ascii", "replace").lower(),
        "version": facts.get("version", ""),
        "taken": round(moment.now, 3),
        "started": view.header.boot_time,
        "headline": headline(gauges, len(sessions), facts)._asdict(),
        "totals": _totals(watch, gauges, counters, facts, len(sessions)),
        "history": _history(watch, counters, wish.span),
        "vservs": [_place(vserv, "iface", sessions, "vserv") for vserv in facts.get("vservs", ())],
        "backends": [_place(backend, "host", sessions, "backend") for backend in facts.get("backends", ())],
        "modules": list(facts.get("modules", ())),
        "certificates": [_certificate(one, moment.now) for one in facts.get("certificates", ())],
        "workers": _workers(view, sessions, moment.ns),
        "sessions": _sessions(watch, sessions, wish),
    }


# --- counters ---------------------------------------------------------------------------------------------------------


def total(value: Any) -> int:
    """The sum of a counter over all its labels."""
    return sum(map(total, value.values())) if isinstance(value, Mapping) else int(value)


def living(counters: Mapping[str, Any]) -> int:
    """Sessions begun and not ended; the two are not read at one instant, hence never negative."""
    return max(0, total(counters["sessions_started"]) - total(counters["sessions_ended"]))


def first_of(counters: Mapping[str, Any], names: Sequence[str]) -> int | None:
    """The sum of the first of these counters that there is."""
    return next((total(counters[name]) for name in names if name in counters), None)


# --- the parts of the page --------------------------------------------------------------------------------------------


def _totals(
    watch: Watch, gauges: Mapping[str, int], counters: Mapping[str, Any], facts: Mapping[str, Any], sessions: int
) -> dict[str, Any]:
    logins_a_second, failures_a_second = watch.history.rates()
    return {
        "sessions": sessions,
        "maxsession": gauges["maxsession"],
        "sessionlimit": watch.view.layout.row_count,
        "session_state": Level(gauges["session_state"]).name,
        "load_state": Level(gauges["load_state"]).name,
        "readings": [one._asdict() for one in readings(gauges, facts)],
        "logins": first_of(counters, LOGINS),
        "failures": first_of(counters, FAILURES),
        "logins_a_second": round(logins_a_second, 1),
        "failures_a_second": round(failures_a_second, 1),
        "started": total(counters["sessions_started"]),
        "draining": bool(gauges["draining"]),
        "generation": gauges["generation"],
        "workers": gauges["workers"],
    }


def _history(watch: Watch, counters: Mapping[str, Any], span: str) -> dict[str, Any]:
    """The graphs, and how they are called; a program that does not count something has no graph of it."""
    drawn = watch.history.series(span)
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


def _place(thing: Mapping[str, Any], host: str, sessions: Sequence[Session], column: str) -> dict[str, Any]:
    """A virtual server or a backend: where it is, and how many sessions it has."""
    protocol = thing["prot"]
    if thing.get("starttls", "off") != "off":
        protocol += f", STLS {thing['starttls']}"
    return {
        "id": thing["id"],
        "state": thing["state"],
        "address": _address(thing[host], thing["port"]),
        "protocol": protocol,
        "sessions": sum(session.get(column) == thing["id"] for session in sessions),
    }


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _certificate(certificate: Mapping[str, Any], now: float) -> dict[str, Any]:
    return {**certificate, "days_left": int((certificate["not_after"] - now) // 86400)}


def _workers(view: View, sessions: Sequence[Session], now_ns: int) -> list[dict[str, Any]]:
    held = Counter(session["pid"] for session in sessions)
    return [
        {
            "slot": worker["slot"],
            "pid": worker["pid"],
            "generation": worker["generation"],
            "silent_seconds": silent_seconds(worker, now_ns),
            "sessions": held[worker["pid"]],
        }
        for worker in sorted(view.workers(), key=lambda worker: (worker["slot"], worker["generation"]))
    ]


def silent_seconds(worker: Mapping[str, int], now_ns: int) -> float | None:
    """How long its loop has not turned; it beats once a second. None if it never did."""
    beat = worker["heartbeat_ns"]
    return round(max(0, now_ns - beat) / 1e9, 1) if beat else None


def _sessions(watch: Watch, sessions: Sequence[Session], wish: Wish) -> dict[str, Any]:
    layout = watch.view.layout
    names = _shown_columns(selection.columns(layout), selection.numeric_columns(layout))
    filters = [Filter("", wish.filter.casefold())] if wish.filter else []
    found = selection.select(sessions, filters, Order(wish.sort, wish.reverse))
    helps = {column.name: column.help for column in layout.columns}
    return {
        "columns": [{"name": name, "kind": _kind(name, layout), "help": helps.get(name, "")} for name in names],
        "rows": [[session[name] for name in names] for session in found[: wish.rows]],
        "tones": {state: selection.tone(state) for state in layout.states},
        "found": len(found),
        "all": len(sessions),
        "masked": not wish.users,
    }


def _shown_columns(names: Sequence[str], numeric: set[str]) -> list[str]:
    """Texts, then the state, times, and other numbers: as one reads about a session."""
    shown = [name for name in names if name not in _NOT_SHOWN]
    texts = [name for name in shown if name not in numeric and name != "state"]
    numbers = [name for name in shown if name in numeric and name not in _TIMES]
    return [*texts, "state", *_TIMES, *numbers]


def _kind(name: str, layout: Any) -> str:
    if name in _TIMES:
        return "time"
    if name in _OCTETS:
        return "octets"
    return "number" if name in selection.numeric_columns(layout) else "text"
