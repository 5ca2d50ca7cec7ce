"""When a backend is checked, how long a check may take, and what is made of several. Pure.

Checks begin at a fixed rate: every `healthinterval`, or four times as often as long as it is not clear what has become
of the backend. One that hears nothing is given up long before the next one is due: so `fall` 2 finds a backend down
within two intervals, wherever in the first one it stopped.
"""

from popular.proxy.checks.canary import Patience
from popular.proxy.settings.backend import LONGEST_HEALTH_ANSWER, Backend

HURRY = 4
"""So many times as often one is checked of which it is not clear what has become of it."""
LONGEST_CHECK = float(LONGEST_HEALTH_ANSWER)
"""Seconds."""
_ANSWERS_AN_INTERVAL = 3
"""Two that do not come, after an interval in which all was well, are over before the second interval is."""
_SHORTEST_ANSWER = 0.5
"""Seconds: one packet that is lost is sent again within so long."""


def patience_with(backend: Backend) -> Patience:
    """How long a check of it may take. Who is slow but answers has all the time until the next one."""
    interval, answer = float(backend.healthinterval), float(backend.healthtimeout)
    answer = answer or max(interval / _ANSWERS_AN_INTERVAL, _SHORTEST_ANSWER)
    return Patience(min(answer, LONGEST_CHECK), min(max(interval, answer), LONGEST_CHECK))


def pause_behind(backend: Backend, is_well: bool | None, took: float) -> float:
    """Seconds from the end of a check, which took so many, to the beginning of the next one. `is_well`: None as long as
    that is not clear.
    """
    return max(0.0, backend.healthinterval / (HURRY if is_well is None else 1) - took)


class Streak:
    """How often in a row a backend was found to be the same."""

    def __init__(self, backend: Backend) -> None:
        self._rise, self._fall = backend.rise, backend.fall
        self._good = self._bad = 0

    def add(self, good: bool) -> bool | None:
        """Whether it is well; None as long as that is not clear."""
        self._good, self._bad = (self._good + 1, 0) if good else (0, self._bad + 1)
        if self._good >= self._rise:
            return True
        return False if self._bad >= self._fall else None
