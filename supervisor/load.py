"""The two warning machines (the manual's chapter on session and load warnings), and the system's load.

OK → WARN at 90 % of the limit, → MAX at 100 %; MAX → WARN below 90 %; WARN → OK below 80 %. A limit of 0 means that
nothing is checked.
"""

import enum
from pathlib import Path

LOADAVG = Path("/proc/loadavg")


class Level(enum.IntEnum):
    """The state of a warning machine."""

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
        return float(path.read_text().split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None
