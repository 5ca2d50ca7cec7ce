"""A picture of a state file as text: aligned blocks for people, or one value for JSON.

Pure. The table describes itself, so that nothing here knows what a column means but the four that every program has.
Times are shown as ages. What comes from strangers is stripped of everything that could steer a terminal.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from metrics import selection
from metrics.duration import age
from metrics.headline import Headline, headline
from metrics.picture import ALL_ROWS, Picture, Rows
from metrics.servers import servers_in_table
from metrics.silence import silence_of_master, silence_of_workers, silent_workers
from metrics.things import IDENT, ThingSeen, seen
from metrics.trouble import failing_first, failure_of, is_worth_a_word, last_error, lost_lines, since_when
from metrics.watch import LOST, total
from supervisor.runtime.load import Level
from supervisor.runtime.plural import count_of
from supervisor.table.segment import View

TIMES = frozenset({"started", "since"})

_GAP = "  "


def document(picture: Picture) -> dict[str, Any]:
    """Everything as one value for JSON; times are seconds since 1970, ages seconds."""
    view = picture.view
    return {
        "file": str(picture.path),
        "program": program(view),
        "pid": view.header.pid,
        "started": view.header.boot_time,
        "taken": picture.now,
        "rows": view.layout.row_count,
        "gauges": view.gauges(),
        "workers": [_worker(worker, picture.now_ns) for worker in view.workers()],
        "counters": view.counters(),
        "healths": {sort: [one._asdict() for one in found] for sort, found in view.healths().items()},
        "things": {look.by: [_thing(one) for one in seen(view, look, picture.living)] for look in view.layout.looks},
        "sessions": picture.sessions,
    }


def _thing(one: ThingSeen) -> dict[str, Any]:
    """For programs; durations are those since the program, or the thing, began, in seconds."""
    took = {title: None if found is None else found._asdict() for title, found in one.took.items()}
    standing = {name: value for name, value in one.standing.items() if name != IDENT}
    return {
        "id": one.ident,
        "state": one.state,
        "condition": one.health.condition,
        "since": since_when(one.health) or None,
        "reason": last_error(one.health),
        "good": one.health.good,
        "bad": one.health.bad,
        "users": one.health.users,
        "sessions": one.sessions,
        "counted": one.counted,
        "took": took,
        **standing,
    }


def report(picture: Picture, rows: Rows, active: bool) -> list[str]:
    """The state for people: aligned lines, blocks with an empty line between them. `active`: only the sessions."""
    view = picture.view
    if active:
        return _sessions(picture)
    head = [
        f"{program(view)}, pid {view.header.pid}, started {_date(view.header.boot_time)}, "
        f"up {age(picture.now - view.header.boot_time)}"
    ]
    counters = table(("counter", "value"), [(line.text, line.value) for line in counter_lines(view)], numeric={1})
    said = headline_of(picture)
    head += [printable(" ".join(part for part in (f"{said.text}.", said.detail) if part))]
    blocks = [
        *(head, *_failing(picture), _gauges(view), _workers(picture), counters),
        [*_sessions(picture), _free(picture, rows)],
    ]
    return [line for block in blocks for line in ("", *block)][1:]


def headline_of(picture: Picture) -> Headline:
    """The state in one line, as far as the table tells it."""
    view, now_ns = picture.view, picture.now_ns
    workers = view.workers()
    return headline(
        view.gauges(),
        len(picture.living),
        {},
        healths=view.healths(),
        now=picture.now,
        servers=servers_in_table(view),
        standstill=silence_of_master(view, now_ns) or silence_of_workers(workers, now_ns),
        more=[*silent_workers(workers, now_ns), *lost_lines(total(view.counters().get(LOST, 0)), of_late=False)],
    )


def program(view: View) -> str:
    """The name in the file's head."""
    return view.layout.program.rstrip(b"\0").decode("ascii", "replace")


# --- the blocks -------------------------------------------------------------------------------------------------------


def _worker(worker: dict[str, int], now_ns: int) -> dict[str, Any]:
    silent = max(0, now_ns - worker["heartbeat_ns"]) / 1e9 if worker["heartbeat_ns"] else None
    return {
        "slot": worker["slot"],
        "pid": worker["pid"],
        "generation": worker["generation"],
        "heartbeat_seconds": silent if silent is None else round(silent, 1),
    }


def _failing(picture: Picture) -> Iterator[list[str]]:
    """A table for each sort of which something has failed in the last minute; without those that did not."""
    for sort, found in picture.view.healths().items():
        lines = [failure_of(one, picture.now) for one in failing_first(found) if is_worth_a_word(one)]
        if lines:
            heads = (sort, "state", "failed", "of", "share", "last error", "ago", "since", "users")
            yield table(heads, lines, {2, 3, 4, 6, 7, 8})


def _gauges(view: View) -> list[str]:
    return table(("gauge", "value"), [gauge(name, value) for name, value in view.gauges().items()], numeric={1})


def gauge(name: str, value: int) -> tuple[str, str]:
    """What a gauge of the table says to people; the table holds whole numbers only."""
    if name.endswith(_HUNDREDTHS):
        return name.removesuffix(_HUNDREDTHS), f"{value / 100:.2f}"
    return name, _GAUGES.get(name, str)(value)


def _level(value: int) -> str:
    return Level(value).name if value in list(Level) else str(value)


_HUNDREDTHS = "_hundredths"
_GAUGES: dict[str, Callable[[int], str]] = {
    "session_state": _level,
    "load_state": _level,
    **dict.fromkeys(("soonest_end", "workers_missing_since"), lambda value: _date(value) if value else "-"),
}
"""Gauges whose number is the state of a warning machine, or a moment."""


def _workers(picture: Picture) -> list[str]:
    """`heartbeat`: how long the worker's loop has been silent; it beats once a second."""
    workers = [_worker(worker, picture.now_ns) for worker in picture.view.workers()]
    workers.sort(key=lambda worker: worker["slot"])
    lines = [(w["slot"], w["pid"], w["generation"], _heartbeat(w["heartbeat_seconds"])) for w in workers]
    return table(("slot", "pid", "birth", "heartbeat"), lines, numeric={0, 1, 2, 3})


def _heartbeat(seconds: float | None) -> str:
    return "none yet" if seconds is None else f"{seconds:.1f}s"


class CounterLine(NamedTuple):
    """A counter, or one label of it: `path` is its name and then the labels."""

    path: tuple[str, ...]
    value: int

    @property
    def text(self) -> str:
        """How it is listed: labels are indented below their counter."""
        return "  " * (len(self.path) - 1) + self.path[-1]


def counter_lines(view: View) -> list[CounterLine]:
    """Lines of all counters; of one with labels the sum, and then each label that has counted anything."""
    return [line for name, value in view.counters().items() for line in _counter_lines((name,), value)]


def _counter_lines(path: tuple[str, ...], value: Any) -> list[CounterLine]:
    if isinstance(value, int):
        return [CounterLine(path, value)]
    below = [line for label, part in value.items() for line in _counter_lines((*path, label), part)]
    total = sum(line.value for line in below if len(line.path) == len(path) + 1)
    return [CounterLine(path, total), *(line for line in below if line.value)]


def _sessions(picture: Picture) -> list[str]:
    layout = picture.view.layout
    names = selection.columns(layout)
    numeric = {place for place, name in enumerate(names) if name in selection.numeric_columns(layout)}
    lines = [[cell(name, session[name], picture.now) for name in names] for session in picture.sessions]
    return table(names, lines, numeric)


def cell(column: str, value: Any, now: float) -> str:
    """What is shown of a value of a session."""
    return age(now - value) if column in TIMES else printable(str(value)) or "-"


def _free(picture: Picture, rows: Rows) -> str:
    count = picture.view.layout.row_count
    last = count - 1 if rows.last is None else min(rows.last, count - 1)
    chosen = max(0, last - rows.first + 1)
    where = "" if rows == ALL_ROWS else f" in rows {rows.first}-{last}"
    return f"{sessions_of(picture)}, {chosen - len(picture.living)} free rows{where}"


def sessions_of(picture: Picture) -> str:
    """How many sessions there are, and how many of them passed the filters."""
    living, shown = len(picture.living), len(picture.sessions)
    return f"{f'{shown} of ' if shown < living else ''}{count_of(living, 'session')}"


# --- text -------------------------------------------------------------------------------------------------------------


def table(heads: Sequence[str], lines: Iterable[Sequence[Any]], numeric: set[int]) -> list[str]:
    """Aligned columns; those in `numeric` to the right. An empty text becomes "-"."""
    rows = [list(heads), *([printable(str(value)) or "-" for value in line] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            word.rjust(width) if place in numeric else word.ljust(width)
            for place, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def printable(text: str) -> str:
    """What may go to a terminal: names come from strangers, and could steer it."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _date(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"
