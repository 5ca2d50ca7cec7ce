"""Levels of load and sessions (OK, WARN, MAX), and the system's load as it is measured.

OK → WARN at 90 % of the limit, → MAX at 100 %; MAX → WARN below 90 %; WARN → OK below 80 %. A limit of 0 means that
nothing is checked.
"""

import enum
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

LOADAVG = Path("/proc/loadavg")
_MOST_OCTETS = 4096
"""So much of such a file is read."""


class LoadFiles(NamedTuple):
    """Where the readings come from; tests read their own files."""

    load: Path
    pressure: Path

    def read(self, what: str) -> float | None:
        """The load or the pressure now, or None where it cannot be read."""
        return read_load(self.load) if what == "load" else read_pressure(self.pressure)


def pressure_file() -> Path:
    """Where the kernel tells the processor pressure of our control group, or, without one, of the host.

    /proc/loadavg is the host's even in a container; the pressure is the container's own.
    """
    try:
        group = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return Path("/proc/pressure/cpu")
    path = Path("/sys/fs/cgroup") / group[3:].lstrip("/") / "cpu.pressure"
    return path if path.exists() else Path("/proc/pressure/cpu")


class Level(enum.IntEnum):
    """How near a reading is to its limit."""

    OK = 0
    WARN = 1
    MAX = 2


def next_level(level: Level, value: float, limit: float) -> Level:
    """The state after a new reading."""
    if limit <= 0:
        return Level.OK
    if value >= limit:
        return Level.MAX
    if value >= 0.9 * limit:
        return max(level, Level.WARN)
    if value >= 0.8 * limit:
        return min(level, Level.WARN)
    return Level.OK


def read_load(path: Path = LOADAVG) -> float | None:
    """The 1-minute load average, or None where it cannot be read."""
    try:
        return _reading(_text(path).split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None


def read_pressure(path: Path) -> float | None:
    """Per cent of the last 10 seconds in which some task of the group waited for a processor, or None."""
    try:
        found = re.search(r"^some avg10=(\S+)", _text(path), re.MULTILINE)
        return _reading(found[1]) if found else None
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str:
    """The first of it; not of a FIFO, which would hold whoever asks. Raises OSError, ValueError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST_OCTETS).decode()
    finally:
        os.close(fd)


def _reading(text: str) -> float | None:
    """None for what is no load: no number, which raises ValueError, or none that can be compared and shown."""
    value = float(text)
    return value if 0 <= value < math.inf else None
