"""Since when each configuration is in force, as far back as a session can have begun."""

import time
from collections.abc import Sequence

from supervisor.control.language.inforce import InForceSince

MOST_KEPT = 4096
"""Beyond that the sessions of the oldest count as those of the one after it."""


class Generations:
    """The generations of this run of the program, the oldest first."""

    def __init__(self, first: int) -> None:
        self._in_force = [_now(first)]

    def took_over(self, generation: int) -> None:
        """This one is in force since now."""
        self._in_force.append(_now(generation))
        del self._in_force[:-MOST_KEPT]

    @property
    def in_force(self) -> Sequence[InForceSince]:
        return tuple(self._in_force)


def _now(generation: int) -> InForceSince:
    return InForceSince(generation, time.time(), time.monotonic())
