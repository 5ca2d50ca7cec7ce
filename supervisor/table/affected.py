"""Whom the failures of a configured thing are about: how many different ones, for all processes and for who watches.

For each index of a sort whose health is kept there is an estimate (distinct.py), of the trouble that goes on: workers
note whom they turn away, and the master clears it when the thing is well again (supervisor/master/health.py).
"""

from typing import Any

from supervisor.table.distinct import REGISTERS, estimate, note
from supervisor.table.layout import Layout

_NOBODY = bytes(REGISTERS)


class Affected:
    """The estimates of one sort, by index. `data`: the segment, or for a reader a copy of one."""

    def __init__(self, layout: Layout, data: Any, sort: str) -> None:
        self._data = data
        self._first = layout.affected_offsets.get(sort)

    def note(self, index: int, digest: int) -> None:
        """One of them, by a digest of 64 bits that strangers cannot know."""
        note(self._data[self._place(index)], digest)

    def count(self, index: int) -> int:
        """How many there are, about; 0 also in a table from before there were estimates."""
        return 0 if self._first is None else estimate(bytes(self._data[self._place(index)]))

    def clear(self, index: int) -> None:
        """The trouble is over, or the index is another thing's."""
        self._data[self._place(index)] = _NOBODY

    def _place(self, index: int) -> slice:
        assert self._first is not None
        start = self._first + index * REGISTERS
        return slice(start, start + REGISTERS)
