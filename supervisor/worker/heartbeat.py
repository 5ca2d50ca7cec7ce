"""The heartbeat of a worker: shows in its block that its loop turns, and how late it was.

Event-loop lag is how late the timer fired: so long does a socket that is ready wait to be served. The maximum of the
last 30 beats stands in the table, so that a scrape every fifteen seconds misses nothing. What the process uses of the
machine is shown too (usage.py).
"""

from collections import deque
from collections.abc import Iterable
from time import monotonic_ns

from supervisor.serving.session import Session
from supervisor.table.contents import BASE_CELLS
from supervisor.usage import show_usage

HEARTBEAT_SECONDS = 1.0
REMEMBERED_BEATS = 30

_HEARTBEAT = BASE_CELLS.index("heartbeat_ns")
_LAG = BASE_CELLS.index("lag_ns")


class Heartbeat:
    """Writes the cells of one block."""

    __slots__ = ("_due", "_lags", "_numbers")

    def __init__(self, block: memoryview) -> None:
        self._numbers = block
        self._lags: deque[int] = deque(maxlen=REMEMBERED_BEATS)
        self._due = monotonic_ns()

    def beat(self) -> None:
        """The loop turns."""
        now = monotonic_ns()
        self._lags.append(max(0, now - self._due))
        self._due = now + int(HEARTBEAT_SECONDS * 1e9)
        self._numbers[_HEARTBEAT] = now
        self._numbers[_LAG] = max(self._lags)
        show_usage(self._numbers)


def refresh_all(sessions: Iterable[Session]) -> None:
    """With each beat: the rows show what is new. An error with one session costs that one, not the worker its beats."""
    for session in list(sessions):
        try:
            session.refresh()
        except Exception as error:
            session.fault(error)
