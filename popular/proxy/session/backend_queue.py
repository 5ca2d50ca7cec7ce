"""How many sessions wait for one backend, over all workers: so that one which hangs does not get every session.

A session waits from its mail check, or connect, until it is logged in or has given up.
"""

from supervisor.serving.context import WorkerContext

CROWDED = "as many sessions as maxwaiting allows wait for it already", "maxwaiting"
"""Why a backend is not even tried: for the log, and for the counter (backend_login.FAILURES)."""


class BackendQueue:
    """Of one backend under one config; `most` 0 is no limit."""

    __slots__ = ("_cell", "_context", "_most", "_shared")

    def __init__(self, context: WorkerContext, cell: int, most: int) -> None:
        """`cell` counts those of a worker."""
        self._context = context
        self._shared = context.shared
        self._cell = cell
        self._most = most

    def enter(self) -> bool:
        """Whether one more may wait, who then does. Workers that ask at the same moment may let in one each."""
        cell = self._cell
        if self._most and self._context.sum(cell) >= self._most:
            return False
        self._shared.add(cell, 1)
        return True

    def leave(self) -> None:
        """Exactly once for each that was let in."""
        self._shared.add(self._cell, -1)
