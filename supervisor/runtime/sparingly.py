"""How often something is told that others can make happen as often as they like."""

import mmap
import struct
import time
from collections.abc import Callable

_MOMENT = struct.Struct("=d")


class Sparingly:
    """Says yes once in so many seconds, to all processes together that were forked after it was made.

    There is no lock that a dead process could leave behind: two that ask within the same microsecond may both hear yes.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = mmap.mmap(-1, _MOMENT.size)

    def __call__(self) -> bool:
        """Whether to tell it now."""
        now = self._clock()
        if now < _MOMENT.unpack_from(self._until)[0]:
            return False
        _MOMENT.pack_into(self._until, 0, now + self._seconds)
        return True
