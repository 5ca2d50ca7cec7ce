"""Since when a configuration is in force."""

from typing import NamedTuple


class InForceSince(NamedTuple):
    """A generation, and when it came into force: in seconds since 1970, and of the monotonic clock."""

    generation: int
    wall: float
    clock: float
