"""Slots in which no worker serves, because none can be born, or each dies at once: who accepts their clients meanwhile.

The kernel gives a slot's sockets their share of the clients, whoever sits there. So after a grace that a usual
birth does not need, a worker that serves is lent them: the *deputy*. It has them until somebody serves in the slot
himself; both accept in between, and no client is lost. While a change of the config is under way nothing is
lent or taken back: the change hands sockets out itself, to deputies too (`Listeners.of_slot`).
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from supervisor.master.listeners import Listeners
from supervisor.master.pool import Pool
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.sockets.listener import ListenerCopy
from supervisor.workerline import Lend, TakeBack

GRACE_SECONDS = 5.0
"""So long a slot may be vacant before it is worth a word: a module may read a large file."""


class Vacancies:
    """The vacant slots, and their deputies."""

    def __init__(
        self, pool: Pool, listeners: Listeners, log: Log, *, wanted: Callable[[], Sequence[ListenerCopy]]
    ) -> None:
        """`wanted`: the copies of the config in force."""
        self._pool = pool
        self._listeners = listeners
        self._log = log
        self._wanted = wanted
        self._began: dict[int, float] = {}
        self.missing: list[int] = []
        """The slots that have been vacant for longer than the grace."""

    def look(self, now: float, *, changing: bool) -> None:
        """To be called once a second; `now`: of the monotonic clock; `changing`: a change of the config is under way.
        In a shutdown whoever has been lent a queue empties it.
        """
        self._began = {slot: self._began.get(slot, now) for slot in self._pool.vacant}
        self.missing = [slot for slot, began in sorted(self._began.items()) if now - began >= GRACE_SECONDS]
        if self._pool.refilling and not changing:
            self._end_deputies()
            self._find_deputies()

    def gauges(self, now: float) -> dict[str, int]:
        """For the table: how many slots have been vacant for longer than the grace, and since when (0: none is)."""
        for_seconds = max((now - self._began[slot] for slot in self.missing), default=0.0)
        since = int(time.time() - for_seconds) if self.missing else 0
        return {"workers_missing": len(self.missing), "workers_missing_since": since}

    def _end_deputies(self) -> None:
        """Where somebody serves in the slot he accepts alone; where the deputy is missing too, another one comes."""
        there = self._pool.serving | self._began.keys() - set(self.missing)
        for slot, deputy in list(self._listeners.deputies.items()):
            if slot not in self._began or deputy not in there:
                self._end_deputy(slot, deputy)

    def _end_deputy(self, slot: int, deputy: int) -> None:
        del self._listeners.deputies[slot]
        borrowed = tuple(self._listeners.borrowed_from(slot, self._wanted()))
        for worker in self._pool.seated:
            if worker.slot == deputy:
                self._pool.tell(worker, TakeBack(borrowed))
        self._log(messages.SLOT_TAKEN_BACK, slot=slot, deputy=deputy)

    def _find_deputies(self) -> None:
        for slot in self.missing:
            if slot not in self._listeners.deputies and self._pool.serving:
                burdens = Counter(self._listeners.deputies.values())
                self._lend(slot, min(sorted(self._pool.serving), key=lambda deputy: burdens[deputy]))

    def _lend(self, slot: int, deputy: int) -> None:
        self._listeners.deputies[slot] = deputy
        lent = self._listeners.borrowed_from(slot, self._wanted())
        for worker in self._pool.seated:
            if worker.slot == deputy:
                self._pool.tell(worker, Lend(tuple(lent)), [one.fileno() for one in lent.values()])
        self._log(messages.SLOT_LENT, slot=slot, deputy=deputy)
