"""`pstatus`: shows the session table and the counters of a running program, or of a copied state file.

    pstatus                            gauges, workers, counters, living sessions, and how many rows are free
    pstatus -l                         on a terminal: a live table, with keys to sort, filter and scroll
    pstatus -a -l 5 | …                living sessions only, every five seconds, as plain text
    pstatus --filter backend=store1 --sort sent --reverse
    pstatus -f copy --json             one JSON document

It reads and never writes, and takes no lock; only the key that kicks says a command, over the control socket. What is
read stands in picture.py, how it looks as text in listing.py, the live table in live.py, the terminal in terminal.py.

Exit codes: 0 shown, 1 the state file cannot be read or is none, 2 bad command line, or no such column.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from metrics import kicking, live, selection
from metrics.kicking import Kick
from metrics.latency import RecentDurations
from metrics.listing import document, report
from metrics.picture import ALL_ROWS, Picture, Rows, SessionChoice, UnreadableTable, candidates, take
from metrics.selection import Filter, SortOrder, UnknownColumn
from metrics.terminal import Terminal
from metrics.things import duration_cells, seen
from supervisor.commandline import CommandLine
from supervisor.pcontrol.connection import DEFAULT_RUNDIR, Connection, NoConnection, TimedOut
from supervisor.runtime.standard import hold_standard_descriptors
from supervisor.version import VERSION

EXIT_SHOWN = 0
EXIT_UNREADABLE = 1
EXIT_USAGE = 2

_DAY = 86400
_ANSWER_SECONDS = 10.0
"""For an answer over the control socket."""


def options(programs: Sequence[str]) -> argparse.ArgumentParser:
    """The command line; the manual page is made from it."""
    parser = CommandLine(
        prog="pstatus",
        description="Shows the session table and the counters of a running program, or of a copied state file.",
    )
    add = parser.add_argument
    add("-a", "--active", action="store_true", help="only the living sessions")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-f", "--file", metavar="FILE", help="a state file, or a copy of one")
    source.add_argument(
        "-p",
        "--program",
        metavar="PROGRAM",
        choices=programs or None,
        help=f"program to look at: {' or '.join(programs)} (default: the first of them that runs)",
    )
    add("-l", "--loop", metavar="TIME", nargs="?", const=1.0, type=_seconds,
        help="again every TIME seconds (1 if no TIME is said), until interrupted; on a terminal, as a live table "
             "with keys (h shows them)")  # fmt: skip
    add("-r", "--range", metavar="RANGE", type=_range, default=ALL_ROWS, dest="rows",
        help="only these rows of the table, such as 0-99, 7, or 500- for all from 500 on")  # fmt: skip
    add("--sort", metavar="COLUMN", default="row", help="sessions in the order of a column (default: %(default)s)")
    add("--reverse", action="store_true", help="the largest, or the latest, first")
    add("--filter", metavar="FILTER", action="append", default=[], type=Filter.of, dest="filters",
        help="only sessions with a text in a column (COLUMN=TEXT) or in any (TEXT); upper and lower case are the "
             "same. Said more than once, all must be true")  # fmt: skip
    add("--rundir", metavar="DIR", default=DEFAULT_RUNDIR, help="run directory (default: %(default)s)")
    add("--json", action="store_true", help="everything as one JSON document, one line each time")
    add("--version", action="version", version=f"%(prog)s {VERSION}")
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
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a range of rows, such as 0-99, 7 or 500- (the run directory: --rundir)"
        )
    rows = Rows(int(first), int(last) if last else None if dash else int(first))
    if rows.last is not None and rows.last < rows.first:
        raise argparse.ArgumentTypeError(f"'{text}' ends before it begins")
    return rows


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def main(argv: Sequence[str] | None = None, programs: Sequence[str] = ()) -> int:
    """The command. `programs` are the names of those that there are to look at, in the order of trying."""
    hold_standard_descriptors()
    chosen = options(programs).parse_args(argv)
    paths = candidates(chosen.file, programs if chosen.program is None else [chosen.program], chosen.rundir)
    choice = SessionChoice(chosen.rows, tuple(chosen.filters), SortOrder(chosen.sort, chosen.reverse))
    try:
        if chosen.loop is not None and not chosen.json and _is_terminal():
            _LiveTable(paths, choice, chosen.loop).run()
        else:
            _plain(paths, choice, chosen)
    except UnreadableTable as error:
        _complain(error)
        return EXIT_UNREADABLE
    except UnknownColumn as error:
        _complain(error)
        return EXIT_USAGE
    except KeyboardInterrupt:
        pass
    except OSError as error:
        # The interpreter must not find that out again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # else whoever read us has enough
            print(f"pstatus: it cannot be shown: {error.strerror or error}", file=sys.stderr)
            return EXIT_UNREADABLE
    return EXIT_SHOWN


def _complain(error: Exception) -> None:
    print(f"pstatus: {error}", file=sys.stderr, flush=True)


# --- plain text, once or again and again ------------------------------------------------------------------------------


def _plain(paths: Sequence[Path], choice: SessionChoice, chosen: argparse.Namespace) -> None:
    _show(take(paths, choice), chosen)
    while chosen.loop is not None:
        time.sleep(chosen.loop)
        if not chosen.json:
            print()
        try:
            _show(take(paths, choice), chosen)
        except UnreadableTable as error:  # a program that is just being restarted does not end the loop
            _complain(error)


def _show(picture: Picture, chosen: argparse.Namespace) -> None:
    lines = [json.dumps(document(picture))] if chosen.json else report(picture, chosen.rows, chosen.active)
    print("\n".join(lines), flush=True)


# --- the live table ---------------------------------------------------------------------------------------------------


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class _LiveTable:
    """Reads every so many seconds; a key changes only what is shown of it, at once, until `q`, Ctrl-C or SIGTERM."""

    def __init__(self, paths: Sequence[Path], choice: SessionChoice, every: float) -> None:
        """Raises UnreadableTable, UnknownColumn."""
        self._paths, self._every = paths, every
        self._viewing = live.Viewing(choice)
        self._meter = live.Meter()
        self._recent = RecentDurations()
        self._read()

    def _read(self) -> None:
        self._due = time.monotonic() + self._every
        self._picture = take(self._paths, self._viewing.choice)
        self._rates = self._meter.rates(self._picture)
        view = self._picture.view
        if view.layout.looks:
            self._recent.add(time.monotonic(), duration_cells(view.layout, view.readings()))
        self._find()

    def _find(self) -> None:
        """The things, if they are what is shown."""
        picture, place = self._picture, live.things_shown(self._picture.view, self._viewing)
        looks = picture.view.layout.looks
        self._found = [] if place is None else seen(picture.view, looks[place], picture.living, recent=self._recent)

    def run(self) -> None:
        with Terminal(colours="NO_COLOR" not in os.environ) as terminal:
            while not self._viewing.over:
                width, height = terminal.size()
                picture, found = self._picture, self._found
                self._viewing = viewing = live.scrolled(picture, self._viewing, height, things=len(found))
                terminal.show(live.frame(picture, self._rates, viewing, width=width, height=height, found=found))
                self._hear(terminal.keys(self._due - time.monotonic()), live.room(height))
                if time.monotonic() >= self._due:
                    self._look_again()

    def _hear(self, keys: Sequence[str], page: int) -> None:
        layout = self._picture.view.layout
        for key in keys:
            if self._viewing.kick is not None:
                self._hear_kick(self._viewing.kick, key)
            else:
                columns, views = selection.columns(layout), live.views_of(layout)
                self._viewing = live.press(self._viewing, key, columns, page=page, views=views)
                self._find()
        self._picture = self._picture.chosen(self._viewing.choice)

    def _hear_kick(self, kick: Kick, key: str) -> None:
        pressed = kicking.press(kick, key, live.kick_targets(self._picture, self._found, self._viewing))
        if pressed is None or not pressed.is_sure:
            nobody = pressed is None and key == "return"
            complaint = "nobody is there whom a kick could name" if nobody else ""
            self._viewing = replace(self._viewing, kick=pressed, complaint=complaint)
        else:
            self._viewing = replace(self._viewing, kick=None, answer=self._say(pressed.line))

    def _say(self, command: str) -> str:
        """What the program answers, over the control socket beside its state file."""
        path = self._picture.path.with_suffix(".ctrl")
        try:
            connection = Connection(path, _ANSWER_SECONDS)
        except NoConnection as failure:
            return f"nobody was kicked: {failure}"
        try:
            answer = connection.say(command)
        except (NoConnection, TimedOut) as failure:
            return f"it is not known whether anybody was kicked: {failure}"
        finally:
            connection.close()
        return answer.text if answer.ok else f"nobody was kicked: {answer.text}"

    def _look_again(self) -> None:
        """A program that is just being restarted costs a line, not the view."""
        self._due = time.monotonic() + self._every
        if self._viewing.paused or self._viewing.kick is not None:
            return
        try:
            self._read()
        except UnreadableTable as error:
            self._viewing = replace(self._viewing, away=str(error))
        else:
            self._viewing = replace(self._viewing, away="")


if __name__ == "__main__":
    sys.exit(main())
