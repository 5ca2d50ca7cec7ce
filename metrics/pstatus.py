"""`pstatus`: prints the session table and the counters of a running program, or of a copied state file.

    pstatus                 gauges, workers, counters, living sessions, and how many rows are free
    pstatus -a -l 5         living sessions only, every five seconds
    pstatus -f copy --json  one JSON document

It reads and never writes, and takes no lock: a row or counter is what it was at the moment of reading. The table
describes itself, so that nothing here knows what a column means but the four that every program has. Times are shown
as ages; in a copied file they are counted from the moment of the copy (its modification time).

Exit codes: 0 shown, 1 the state file cannot be read or is none, 2 bad command line.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.control.connection import DEFAULT_RUNDIR, PROGRAMS
from supervisor.load import Level
from supervisor.table.layout import BASE_COLUMNS, WrongFormat
from supervisor.table.segment import View, path_of

EXIT_SHOWN = 0
EXIT_UNREADABLE = 1
EXIT_USAGE = 2

_GAP = "  "
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_TIMES = frozenset({"started", "since"})


class Unreadable(Exception):
    """There is no state file, or it is none; the text is for people."""


class Snapshot(NamedTuple):
    """What was read, at one moment, from one file."""

    path: Path
    view: View
    now: float
    """The moment it shows, seconds since 1970."""
    now_ns: int
    """The same moment on the clock of the heartbeats."""
    sessions: list[dict[str, Any]]
    """Living sessions of the chosen rows."""


class Rows(NamedTuple):
    """A range of rows, both ends included."""

    first: int
    last: int | None


ALL_ROWS = Rows(0, None)


# --- reading ----------------------------------------------------------------------------------------------------------


def candidates(file: str | None, program: str | None, rundir: str) -> list[Path]:
    """The state files to try, in order."""
    if file is not None:
        return [Path(file)]
    return [Path(rundir) / f"{name}.state" for name in ((program,) if program is not None else PROGRAMS)]


def take(paths: Sequence[Path], rows: Rows = ALL_ROWS) -> Snapshot:
    """Reads the first of the files that exists. Raises Unreadable."""
    for path in paths:
        try:
            view = View.open(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror or error}") from None
        except WrongFormat as error:
            raise Unreadable(f"{path}: {error}") from None
        return _snapshot(path, view, rows)
    raise Unreadable(f"no such file: {' or '.join(map(str, paths))} (is the program running?)")


def _snapshot(path: Path, view: View, rows: Rows) -> Snapshot:
    sessions = view.sessions()
    if path.resolve().parent == path_of("").resolve():
        now, now_ns = time.time(), time.monotonic_ns()
    else:
        now = max([path.stat().st_mtime, *(session["since"] for session in sessions)])
        now_ns = max((worker["heartbeat_ns"] for worker in view.workers()), default=0)
    last = view.layout.row_count - 1 if rows.last is None else rows.last
    chosen = [session for session in sessions if rows.first <= session["row"] <= last]
    return Snapshot(path, view, now, now_ns, chosen)


# --- showing ----------------------------------------------------------------------------------------------------------


def document(snapshot: Snapshot) -> dict[str, Any]:
    """Everything as one value for JSON; times are seconds since 1970, ages seconds."""
    view = snapshot.view
    return {
        "file": str(snapshot.path),
        "program": _program(view),
        "pid": view.header.pid,
        "started": view.header.boot_time,
        "taken": snapshot.now,
        "rows": view.layout.row_count,
        "gauges": view.gauges(),
        "workers": [_worker(worker, snapshot.now_ns) for worker in view.workers()],
        "counters": view.counters(),
        "sessions": snapshot.sessions,
    }


def report(snapshot: Snapshot, rows: Rows, active: bool) -> list[str]:
    """The same for people: aligned lines, blocks with an empty line between them."""
    view = snapshot.view
    if active:
        return _sessions(snapshot)
    head = [
        f"{_program(view)}, pid {view.header.pid}, started {_date(view.header.boot_time)}, "
        f"up {age(snapshot.now - view.header.boot_time)}"
    ]
    blocks = [head, _gauges(view), _workers(snapshot), _counters(view), [*_sessions(snapshot), _free(snapshot, rows)]]
    return [line for block in blocks for line in ("", *block)][1:]


def _program(view: View) -> str:
    return view.layout.program.rstrip(b"\0").decode("ascii", "replace")


def _worker(worker: dict[str, int], now_ns: int) -> dict[str, Any]:
    silent = max(0, now_ns - worker["heartbeat_ns"]) / 1e9 if worker["heartbeat_ns"] else None
    return {
        "slot": worker["slot"],
        "pid": worker["pid"],
        "generation": worker["generation"],
        "heartbeat_seconds": silent if silent is None else round(silent, 1),
    }


def _gauges(view: View) -> list[str]:
    lines = [(name, _GAUGES.get(name, str)(value)) for name, value in view.gauges().items()]
    return table(("gauge", "value"), lines, numeric={1})


def _level(value: int) -> str:
    return Level(value).name if value in list(Level) else str(value)


_GAUGES: dict[str, Callable[[int], str]] = {
    "session_state": _level,
    "load_state": _level,
}
"""Gauges whose number is the state of a warning machine."""


def _workers(snapshot: Snapshot) -> list[str]:
    """`heartbeat`: how long the worker's loop has been silent; it beats once a second."""
    workers = [_worker(worker, snapshot.now_ns) for worker in snapshot.view.workers()]
    workers.sort(key=lambda worker: worker["slot"])
    lines = [(w["slot"], w["pid"], w["generation"], _heartbeat(w["heartbeat_seconds"])) for w in workers]
    return table(("slot", "pid", "generation", "heartbeat"), lines, numeric={0, 1, 2, 3})


def _heartbeat(seconds: float | None) -> str:
    return "none yet" if seconds is None else f"{seconds:.1f}s"


def _counters(view: View) -> list[str]:
    """Of a counter with labels: the sum, and the labels that have counted anything."""
    lines: list[tuple[str, int]] = []
    for name, value in view.counters().items():
        if isinstance(value, int):
            lines.append((name, value))
        else:
            lines.append((name, sum(value.values())))
            lines += [(f"  {label}", number) for label, number in value.items() if number]
    return table(("counter", "value"), lines, numeric={1})


def _sessions(snapshot: Snapshot) -> list[str]:
    columns = snapshot.view.layout.columns
    base = [column.name for column in BASE_COLUMNS]
    own = [column.name for column in columns if column.name not in base]
    # The state is a phrase with blanks in it: it stands last, where it shifts nothing.
    names = ["row", "pid", "started", "since", *own, "state"]
    numeric = {names.index(column.name) for column in columns if not column.form.endswith("s")} - {len(names) - 1}
    lines = [[_cell(name, session[name], snapshot.now) for name in names] for session in snapshot.sessions]
    return table(names, lines, numeric | {0})


def _cell(name: str, value: Any, now: float) -> Any:
    return age(now - value) if name in _TIMES else value


def _free(snapshot: Snapshot, rows: Rows) -> str:
    count = snapshot.view.layout.row_count
    last = count - 1 if rows.last is None else min(rows.last, count - 1)
    chosen = max(0, last - rows.first + 1)
    where = "" if rows == ALL_ROWS else f" in rows {rows.first}-{last}"
    living = len(snapshot.sessions)
    return f"{living} session{'' if living == 1 else 's'}, {chosen - living} free rows{where}"


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


def age(seconds: float) -> str:
    """A time interval, in its two largest units: 7s, 3m07s, 2h03m, 4d02h. Never negative."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def _date(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"


# --- the command ------------------------------------------------------------------------------------------------------


def options() -> argparse.ArgumentParser:
    """The command line; the manual page is made from it."""
    parser = argparse.ArgumentParser(
        prog="pstatus",
        description="Prints the session table and the counters of a running program, or of a copied state file.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-a", "--active", action="store_true", help="only the living sessions")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-f", "--file", metavar="FILE", help="a state file, or a copy of one")
    source.add_argument(
        "-p", "--program", choices=PROGRAMS, help="program to look at (default: pproxy if it runs, else pserv)"
    )
    add("-l", "--loop", metavar="TIME", nargs="?", const=1.0, type=_seconds,
        help="again every TIME seconds (1 if no TIME is said), until interrupted")  # fmt: skip
    add("-r", "--range", metavar="RANGE", type=_range, default=ALL_ROWS, dest="rows",
        help="only these rows of the table, such as 0-99, 7, or 500- for all from 500 on")  # fmt: skip
    add("--rundir", metavar="DIR", default=DEFAULT_RUNDIR, help="run directory (default: %(default)s)")
    add("--json", action="store_true", help="everything as one JSON document, one line each time")
    add("--version", action="version", version=f"%(prog)s {version('popular-pop3')}")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= _DAY:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0.1 to {_DAY}")
    return seconds


def _range(text: str) -> Rows:
    first, dash, last = text.partition("-")
    if not _is_number(first) or (last and not _is_number(last)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a range of rows, such as 0-99, 7 or 500-")
    rows = Rows(int(first), int(last) if last else None if dash else int(first))
    if rows.last is not None and rows.last < rows.first:
        raise argparse.ArgumentTypeError(f"'{text}' ends before it begins")
    return rows


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    chosen = options().parse_args(argv)
    paths = candidates(chosen.file, chosen.program, chosen.rundir)
    try:
        _show(paths, chosen)
        while chosen.loop is not None:
            time.sleep(chosen.loop)
            _show_again(paths, chosen)
    except Unreadable as error:
        _complain(error)
        return EXIT_UNREADABLE
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Whoever read us has enough; the interpreter must not find that out again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_SHOWN


def _show(paths: Sequence[Path], chosen: argparse.Namespace) -> None:
    snapshot = take(paths, chosen.rows)
    lines = [json.dumps(document(snapshot))] if chosen.json else report(snapshot, chosen.rows, chosen.active)
    print("\n".join(lines), flush=True)


def _show_again(paths: Sequence[Path], chosen: argparse.Namespace) -> None:
    """A program that is just being restarted does not end the loop."""
    if not chosen.json:
        print()
    try:
        _show(paths, chosen)
    except Unreadable as error:
        _complain(error)


def _complain(error: Exception) -> None:
    print(f"pstatus: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
