"""Who is admitted to a backend, by how many wait for it and are at it over all workers: so that those which hang do not
get every session, and none gets more than it can bear (`maxsessions`). Nobody queues: who is not admitted hears so.

A session waits from its mail check, or connect, until it is logged in or has given up. A backend may have as many as
its own `maxwaiting` says. All that have none of their own share a room, and each may have as many as there is room
left: so one that hangs gets half of the room, and of several each gets as much as is left for the next one. Who answers
has few at a time, and finds room however many hang (decision 10.10).

A session is at a backend from that moment until its connection is closed.
"""

from popular.proxy.session.backend.contracts import BackendFailure
from popular.proxy.settings.backend import WaitingLimit
from supervisor.serving.context import WorkerContext
from supervisor.system import Shared

CROWDED = BackendFailure(
    "as many sessions as maxwaiting allows wait for it already (is it slow, or does it lead back to us?)", "maxwaiting"
)
"""Why a backend is not even tried. A loop over another proxy is seen nowhere else (decision 10.34)."""
FULL = BackendFailure("as many sessions as maxsessions allows are at it already", "maxsessions")


class BackendPlaces:
    """The sessions that are at one backend, under one config.

    They are counted also where there is no limit, so that one is right from the moment at which it is set.
    """

    __slots__ = ("_cell", "_most", "_shared", "_sum")

    def __init__(self, context: WorkerContext, cell: int, most: int) -> None:
        """`cell` counts those of a worker, whose part of a dead one the master takes off; `most` 0 is no limit."""
        self._sum = context.sum
        self._shared = Shared(context.cells)
        self._cell = cell
        self._most = most

    def is_limited(self) -> bool:
        """Whether it may ever be full."""
        return self._most > 0

    def is_full(self) -> bool:
        """Whether no more may come."""
        return self._most > 0 and self._sum(self._cell) >= self._most

    def try_acquire(self) -> bool:
        """Whether one more may come, who then does. Workers that ask at the same moment may let in one each."""
        if self._most and self._sum(self._cell) >= self._most:
            return False
        self._shared.add(self._cell, 1)
        return True

    def give_back(self) -> None:
        """Exactly once for each that was let in."""
        self._shared.add(self._cell, -1)


class BackendAdmission:
    """Counts the sessions that wait for one backend, under one config, and those that are at it."""

    __slots__ = ("_all", "_cell", "_most", "_room", "_shared", "_sum", "places")

    def __init__(
        self, context: WorkerContext, cell: int, limit: WaitingLimit, *, of_all: int, places: BackendPlaces
    ) -> None:
        """`cell` counts those of a worker, `of_all` those of a worker for any backend; `places`: the backend's."""
        self.places = places
        self._sum = context.sum
        self._shared = Shared(context.cells)
        self._cell = cell
        self._all = of_all
        self._most, self._room = limit

    def try_admit(self) -> BackendFailure | None:
        """Takes a place and waits; or says why not, and has taken nothing."""
        if not self.places.try_acquire():
            return FULL
        if not self.try_begin_waiting():
            self.places.give_back()
            return CROWDED
        return None

    def try_begin_waiting(self) -> bool:
        """Whether one more may wait, who then does. Workers that ask at the same moment may let in one each."""
        if self._is_crowded():
            return False
        self._shared.add(self._cell, 1)
        self._shared.add(self._all, 1)
        return True

    def length(self) -> int:
        """How many wait, over all workers."""
        return int(self._sum(self._cell))

    def hindrance(self) -> BackendFailure | None:
        """Why no more may come; to be asked by who only wants to know."""
        if self.places.is_full():
            return FULL
        return CROWDED if self._is_crowded() else None

    def _is_crowded(self) -> bool:
        most, room = self._most, self._room
        if most:
            return self._sum(self._cell) >= most
        if not room:
            return False
        waiting = self._sum(self._all)
        # As long as less than half is taken no backend can have as many as are left. One may always wait.
        return 2 * waiting >= room and self._sum(self._cell) >= max(1, room - waiting)

    def end_waiting(self) -> None:
        """Exactly once for each that was let in."""
        self._shared.add(self._cell, -1)
        self._shared.add(self._all, -1)
