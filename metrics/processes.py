"""What /proc tells of our processes (proc(5)); of one that is gone, nothing."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UTIME = 11
"""Place of utime among the fields behind the name; stime, cutime and cstime follow."""


def resident_bytes(pid: int) -> int | None:
    """Memory in use, shared pages included."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None


def open_fds(pid: int) -> int | None:
    """Open descriptors. From Linux 6.2 on the size of the directory tells it, which needs no right to look inside."""
    directory = f"/proc/{pid}/fd"
    try:
        return os.stat(directory).st_size or len(os.listdir(directory))
    except OSError:
        return None


def _cpu_seconds(pid: int, with_children: bool = False) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[_UTIME : _UTIME + (4 if with_children else 2)])) / _TICKS
    except (OSError, ValueError):
        return 0.0


class ProcessorTime:
    """Processor seconds of a master and all its children, the dead ones included. Never falls."""

    def __init__(self) -> None:
        self._highest = 0.0

    def seconds(self, master: int, children: Iterable[int]) -> float:
        """The master's account holds the children that are buried; the living are added.

        The master is looked at first: so a child that is buried in between is in neither, not in both, and the highest
        reading so far holds until the next.
        """
        total = _cpu_seconds(master, with_children=True) + sum(map(_cpu_seconds, children))
        self._highest = max(self._highest, total)
        return self._highest
