"""What `pstatus` reads: one state file at one moment, and of its sessions those that were asked for.

It reads and never writes, and takes no lock: a row or counter is what it was at the moment of reading. In a copied
file the moment is that of the copy (its modification time).
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from metrics import selection
from metrics.selection import Filter, Session, SortOrder
from supervisor.table.header import WrongFormat
from supervisor.table.segment import View, path_of


class UnreadableTable(Exception):
    """There is no state file, or it is none; the text is for people."""


class Rows(NamedTuple):
    """A range of rows, both ends included."""

    first: int
    last: int | None


ALL_ROWS = Rows(0, None)


class SessionChoice(NamedTuple):
    """Which sessions are wanted, and in which order."""

    rows: Rows = ALL_ROWS
    filters: tuple[Filter, ...] = ()
    order: SortOrder = SortOrder()


class Picture(NamedTuple):
    """What was read, at one moment, from one file."""

    path: Path
    view: View
    now: float
    """The moment it shows, seconds since 1970."""
    now_ns: int
    """This moment on the clock of the heartbeats."""
    living: list[Session]
    """All sessions in the chosen rows."""
    sessions: list[Session]
    """The sessions that pass the filters, in order."""

    def chosen(self, choice: SessionChoice) -> "Picture":
        """A picture of this moment with other filters or another order."""
        return self._replace(sessions=selection.select(self.living, choice.filters, choice.order))


def candidates(file: str | None, programs: Sequence[str], rundir: str) -> list[Path]:
    """The state files to try, in order."""
    if file is not None:
        return [Path(file)]
    return [Path(rundir) / f"{name}.state" for name in programs]


def take(paths: Sequence[Path], choice: SessionChoice) -> Picture:
    """Reads the first of the files that exists. Raises UnreadableTable, UnknownColumn for a choice that names one."""
    for path in paths:
        try:
            view = View.open(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UnreadableTable(f"{path}: {error.strerror or error}") from None
        except WrongFormat as error:
            raise UnreadableTable(f"{path}: {error}") from None
        return _picture(path, view, choice)
    names = " or ".join(map(str, paths))
    raise UnreadableTable(f"no such file: {names} (is the program running? --rundir names its run directory)")


def _picture(path: Path, view: View, choice: SessionChoice) -> Picture:
    selection.check_columns([choice.order.column, *(one.column for one in choice.filters)], view.layout)
    sessions = view.sessions()
    if path.resolve().parent == path_of("").resolve():
        now, now_ns = time.time(), time.monotonic_ns()
    else:
        now = max([path.stat().st_mtime, *(session["since"] for session in sessions)])
        now_ns = max(process["heartbeat_ns"] for process in (view.master(), *view.workers()))
    last = view.layout.row_count - 1 if choice.rows.last is None else choice.rows.last
    chosen = [session for session in sessions if choice.rows.first <= session["row"] <= last]
    return Picture(path, view, now, now_ns=now_ns, living=chosen, sessions=[]).chosen(choice)
