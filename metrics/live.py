"""The live table of `pstatus -l`: what stands on the screen, and what the keys do.

    viewing = press(viewing, key, columns, rows)       a key was pressed
    frame(picture, rates, viewing, width, height)      the screen, as lines of coloured spans

Pure: no terminal, no clock. terminal.py does the input and output, pstatus.py has the loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from metrics import selection
from metrics.duration import age
from metrics.headline import BUSY, CLOSED, QUIET
from metrics.ink import BAR, BOLD, PLAIN, InkedText, Line, cut, marked
from metrics.kicking import Kick, KickTarget, targets_of_sessions, targets_of_things
from metrics.listing import TIMES, cell, counter_lines, headline_of, printable, program, sessions_of
from metrics.picture import Picture, SessionChoice
from metrics.selection import Filter, SortOrder
from metrics.thinglines import lines_of
from metrics.things import ThingSeen
from supervisor.table.layout import Layout
from supervisor.table.segment import View

KEYS = {
    "q": "quit (so does Ctrl-C)",
    "h": "this help (any key leaves it)",
    "← →": "sort by the column to the left or right (also < and >)",
    "r": "reverse the order",
    "/": "filter: TEXT, or COLUMN=TEXT; return keeps it, escape drops it",
    "p": "pause, go on (also space)",
    "tab": "sessions, what they are at (those that fail in front), counters",
    "k": "kick: a line is marked, the arrows move the mark, return chooses it; then y, and Y",
    "↑ ↓": "scroll (also page up, page down, home, end)",
}

_HEAD_LINES = 4
"""Title, state, an empty line, the bar."""
_FOOT_LINES = 1
_GAP = "  "
_WIDEST = 28
"""Characters that one column may have."""
_SPARE_ROW = 14
"""The number of the row stands in no column of the table."""
Rates = Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class Viewing:
    """What somebody is looking at."""

    choice: SessionChoice
    shown: int = 0
    """Which of the views: the sessions, a table for each sort of things, the counters."""
    top: int = 0
    """How many lines are scrolled away."""
    typed: str | None = None
    """A filter that is being typed."""
    paused: bool = False
    help: bool = False
    over: bool = False
    complaint: str = ""
    """Why the last key did nothing."""
    away: str = ""
    """Why there is nothing new to see."""
    kick: Kick | None = None
    """Somebody is about to be kicked: until that is decided nothing moves."""
    answer: str = ""
    """What came of it."""


@dataclass
class Meter:
    """Counters a second, from one picture to the next."""

    _started: float = 0.0
    _moment: float = 0.0
    _values: dict[tuple[str, ...], int] = field(default_factory=dict)

    def rates(self, picture: Picture) -> Rates:
        """Nothing at the first picture, and after the program was started anew."""
        values = {line.path: line.value for line in counter_lines(picture.view)}
        started, seconds = picture.view.header.boot_time, picture.now - self._moment
        known = self._values if started == self._started and seconds > 0 else {}
        self._started, self._moment = started, picture.now
        before, self._values = known, values
        # A label is listed from its first event on: until then it stood at 0.
        return {path: (value - before.get(path, 0)) / seconds for path, value in values.items()} if before else {}


# --- keys -------------------------------------------------------------------------------------------------------------


def press(viewing: Viewing, key: str, columns: Sequence[str], *, page: int, views: int = 2) -> Viewing:
    """What becomes of it when a key is pressed. `page`: how many lines the screen has for the table; `views`: how many
    there are.
    """
    if viewing.typed is not None:
        return _type(viewing, key, columns)
    if viewing.help:
        return replace(viewing, help=False)
    viewing = replace(viewing, complaint="", answer="")
    if key in _SCROLLS:
        return replace(viewing, top=max(0, viewing.top + _SCROLLS[key] * (page if "page" in key else 1)))
    order = viewing.choice.order
    match key:
        case "q":
            return replace(viewing, over=True)
        case "h" | "?":
            return replace(viewing, help=True)
        case "p" | " ":
            return replace(viewing, paused=not viewing.paused)
        case "tab":
            return replace(viewing, shown=(viewing.shown + 1) % views, top=0)
        case "/":
            return replace(viewing, typed="", shown=0)
        case "escape":
            return _filtered(viewing, ())
        case "r":
            return _ordered(viewing, order._replace(reverse=not order.reverse))
        case "left" | "<" | "right" | ">":
            step = 1 if key in ("right", ">") else -1
            place = (columns.index(order.column) + step) % len(columns)
            return _ordered(viewing, SortOrder(columns[place], False))
        case "k" if viewing.shown == views - 1:
            return replace(viewing, complaint="a counter cannot be kicked; tab leads to those who can")
        case "k":
            return replace(viewing, kick=Kick(viewing.top))
        case "home":
            return replace(viewing, top=0)
        case "end":
            return replace(viewing, top=_FAR)
    return viewing


_FAR = 1 << 30
_SCROLLS = {"up": -1, "down": 1, "page up": -1, "page down": 1}


def _type(viewing: Viewing, key: str, columns: Sequence[str]) -> Viewing:
    """A key while a filter is being typed."""
    assert viewing.typed is not None
    if key == "escape":
        return replace(viewing, typed=None)
    if key == "backspace":
        return replace(viewing, typed=viewing.typed[:-1])
    if key != "return":
        return replace(viewing, typed=viewing.typed + key) if len(key) == 1 and key.isprintable() else viewing
    new = Filter.of(viewing.typed)
    if new.column and new.column not in columns:
        return replace(viewing, typed=None, complaint=f'no column "{new.column}"; there are: {" ".join(columns)}')
    return _filtered(replace(viewing, typed=None), (new,) if new.text else ())


def _filtered(viewing: Viewing, filters: tuple[Filter, ...]) -> Viewing:
    return replace(viewing, choice=viewing.choice._replace(filters=filters), top=0)


def _ordered(viewing: Viewing, order: SortOrder) -> Viewing:
    return replace(viewing, choice=viewing.choice._replace(order=order))


# --- the screen -------------------------------------------------------------------------------------------------------


def room(height: int) -> int:
    """Lines of the screen that the table has for itself."""
    return max(1, height - _HEAD_LINES - _FOOT_LINES)


def views_of(layout: Layout) -> int:
    """How many there are to see: the sessions, each sort of things, the counters."""
    return len(layout.looks) + 2


def things_shown(view: View, viewing: Viewing) -> int | None:
    """Which of the sorts of things is shown; None: sessions, or counters."""
    return viewing.shown - 1 if 0 < viewing.shown <= len(view.layout.looks) else None


def kick_targets(picture: Picture, found: Sequence[ThingSeen], viewing: Viewing) -> list[KickTarget]:
    """Whom the lines that are shown are about; `found`: the things, if it is they. Nobody of the counters."""
    layout = picture.view.layout
    place = things_shown(picture.view, viewing)
    if place is not None:
        return targets_of_things(layout.looks[place], found)
    return [] if viewing.shown else targets_of_sessions(layout, picture.sessions, picture.living)


def scrolled(picture: Picture, viewing: Viewing, height: int, *, things: int = 0) -> Viewing:
    """How it is viewed, but not scrolled beyond the last line, nor away from the one that is marked."""
    lines = len(picture.sessions) if not viewing.shown else len(counter_lines(picture.view))
    lines = things if things_shown(picture.view, viewing) is not None else lines
    top = max(0, min(viewing.top, lines - room(height)))
    if viewing.kick is not None:
        top = max(viewing.kick.place - room(height) + 1, min(top, viewing.kick.place))
    return replace(viewing, top=top)


def frame(
    picture: Picture,
    rates: Rates,
    viewing: Viewing,
    *,
    width: int,
    height: int,
    found: Sequence[ThingSeen] = (),
) -> list[Line]:
    """The screen: at most `height` lines, none longer than `width`. `found`: the things, if they are what is shown."""
    if viewing.help:
        body = _help()
    else:
        bar, lines = _table(picture, rates, viewing, found=found, width=width)
        if viewing.kick is not None and viewing.kick.place < len(lines):
            lines[viewing.kick.place] = marked(lines[viewing.kick.place], width)
        body = [[InkedText(bar.ljust(width), BAR)], *lines[viewing.top : viewing.top + room(height)]]
    head = [_title(picture), _state(picture, rates), []]
    body += [[] for _ in range(height - _FOOT_LINES - len(head) - len(body))]
    whole = [*head, *body][: max(0, height - _FOOT_LINES)]
    return [cut(line, width) for line in [*whole, _foot(picture, viewing)]]


def _table(
    picture: Picture, rates: Rates, viewing: Viewing, *, found: Sequence[ThingSeen], width: int
) -> tuple[str, list[Line]]:
    """The bar above what is shown, and its lines."""
    layout = picture.view.layout
    place = things_shown(picture.view, viewing)
    if place is not None:
        return lines_of(found, layout.looks[place], layout, now=picture.now)
    return _counters(picture.view, rates) if viewing.shown else _sessions(picture, viewing, width)


def _title(picture: Picture) -> Line:
    view = picture.view
    gauges = view.gauges()
    facts = f"pid {view.header.pid}  up {age(picture.now - view.header.boot_time)}"
    setup = f"configuration {gauges.get('generation', 0)}  workers {gauges.get('workers', 0)}"
    return [InkedText(program(view).lower(), BOLD), InkedText(f"  {facts}  {setup}", QUIET)]


def _state(picture: Picture, rates: Rates) -> Line:
    gauges = picture.view.gauges()
    said = headline_of(picture)
    line = [InkedText(said.text, said.tone), InkedText(f"   limit {gauges.get('maxsession', 0)}")]
    for row in picture.view.layout.rates:
        if (row.counter,) in rates:
            rate = rates[(row.counter,)]
            line.append(InkedText(f"   {row.word} {rate:.1f}/s", CLOSED if row.bad and rate else PLAIN))
    return [*line, InkedText(f"   load {gauges.get('load_hundredths', 0) / 100:.2f}")]


def _sessions(picture: Picture, viewing: Viewing, width: int) -> tuple[str, list[Line]]:
    """The bar above the table, and its lines."""
    numeric = selection.numeric_columns(picture.view.layout)
    order = viewing.choice.order
    names = selection.columns(picture.view.layout)
    cells = [{name: cell(name, session[name], picture.now) for name in names} for session in picture.sessions]
    widths = {name: min(_WIDEST, max([len(name) + 2, *(len(row[name]) for row in cells)])) for name in names}
    shown = _fitting(names, widths, order.column, spared=_spared(picture.view.layout), width=width)
    bar = _GAP.join(_placed(_head(name, order), widths[name], name in numeric) for name in shown)
    layout = picture.view.layout
    return bar, [_line(row, shown, widths, numeric=numeric, tone=selection.tone(row["state"], layout)) for row in cells]


def _spared(layout: Layout) -> list[str]:
    """The columns that a narrow screen does without, in this order."""
    readily = {column.name: column.spare for column in layout.columns if column.spare} | {"row": _SPARE_ROW}
    return sorted(readily, key=lambda name: readily[name], reverse=True)


def _fitting(
    names: Sequence[str], widths: Mapping[str, int], kept: str, *, spared: Sequence[str], width: int
) -> list[str]:
    """The columns that fit beside each other; the one that is sorted by is always among them."""
    shown = list(names)
    for name in spared:
        if sum(widths[name] for name in shown) + len(_GAP) * (len(shown) - 1) <= width:
            break
        if name != kept:
            shown.remove(name)
    return shown


def _head(name: str, order: SortOrder) -> str:
    if name != order.column:
        return name
    # An age grows as the moment of the start falls.
    falling = order.reverse != (name in TIMES)
    return f"{name} {'↓' if falling else '↑'}"


def _placed(text: str, width: int, to_the_right: bool) -> str:
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.rjust(width) if to_the_right else text.ljust(width)


def _line(
    row: Mapping[str, str], shown: Sequence[str], widths: Mapping[str, int], *, numeric: set[str], tone: str
) -> Line:
    *others, state = shown
    text = _GAP.join(_placed(row[name], widths[name], name in numeric) for name in others)
    return [InkedText(text + _GAP), InkedText(row[state], PLAIN if tone == QUIET else tone)]


def _counters(view: View, rates: Rates) -> tuple[str, list[Line]]:
    lines: list[Line] = []
    for line in counter_lines(view):
        rate = rates.get(line.path)
        text = f"{line.text:<{_WIDEST}}{line.value:>16}{'' if rate is None else f'{rate:.1f}':>12}"
        lines.append([InkedText(text, BOLD if len(line.path) == 1 and rate else PLAIN)])
    return f"{'counter':<{_WIDEST}}{'value':>16}{'a second':>12}", lines


def _help() -> list[Line]:
    return [[InkedText(f"{key:>6}", BOLD), InkedText(f"   {meaning}")] for key, meaning in KEYS.items()]


def _foot(picture: Picture, viewing: Viewing) -> Line:
    if viewing.typed is not None:
        return [InkedText("filter: ", BOLD), InkedText(printable(viewing.typed) + "_")]
    if viewing.kick is not None:
        return [InkedText(printable(viewing.kick.question()), CLOSED if viewing.kick.target else BOLD)]
    if viewing.answer:
        return [InkedText(printable(viewing.answer), BOLD)]
    if viewing.complaint or viewing.away:
        return [InkedText(printable(viewing.complaint or viewing.away), CLOSED)]
    parts = [sessions_of(picture)]
    parts += [f"filter {printable(_words(one))}" for one in viewing.choice.filters]
    keys = "h help  q quit"
    paused = [InkedText("paused", BUSY), InkedText("  ")] if viewing.paused else []
    return [*paused, InkedText("  ".join(parts) + "  "), InkedText(keys, QUIET)]


def _words(one: Filter) -> str:
    return f"{one.column}={one.text}" if one.column else one.text
