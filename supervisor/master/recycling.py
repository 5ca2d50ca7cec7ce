"""`workers recycle`: fresh workers, one slot after the other.

    successor is born in the slot → it serves → the old one accepts nothing more and finishes its sessions → next slot

Both accept from the same sockets in between, so no client waits longer than usual. A successor that dies at birth
ends the recycling; the old worker of its slot stays. It dies, too, of a file that cannot be used any more: of that the
old one has what was read before.
"""

from collections.abc import Callable

from supervisor.master.pool import NoBirth, Pool, WorkerProcess
from supervisor.runtime.plural import count_of

RecyclingDone = Callable[[bool, str], None]


class Recycling:
    """Renews the workers, slot by slot; one recycling at a time."""

    def __init__(self, pool: Pool, dismiss: Callable[[WorkerProcess], None]) -> None:
        """`dismiss` asks a worker to go that has a successor."""
        self._pool = pool
        self._dismiss = dismiss
        self._waiting: list[WorkerProcess] = []
        self._successor: WorkerProcess | None = None
        self._renewed = 0
        self._done: RecyclingDone | None = None

    def begin(self, done: RecyclingDone) -> None:
        """`done(True, text)` when every slot has a new worker; `done(False, reason)` when that is not to be had."""
        if self._done is not None:
            done(False, "the workers are being recycled already")
            return
        if not self._pool.seated:
            why = f": {self._pool.trouble}" if self._pool.trouble else ""
            done(False, f"no worker lives that could be renewed{why}")
            return
        self._done = done
        self._renewed = 0
        self._waiting = sorted(self._pool.seated, key=lambda worker: worker.slot)
        self._next()

    def _summary(self) -> str:
        return count_of(self._renewed, "worker is renewed", "workers are renewed")

    def _next(self) -> None:
        self._waiting = [worker for worker in self._waiting if worker in self._pool.seated]
        if not self._waiting:
            self._end(True, self._summary())
            return
        try:
            self._successor = self._pool.give_birth(self._waiting[0].slot, tolerant=False)
        except NoBirth as error:
            self._end(False, f"{error}; {self._summary()}")

    def serving(self, worker: WorkerProcess) -> None:
        """A worker serves: if it is the successor, the old one may go."""
        if worker is self._successor:
            old = self._waiting.pop(0)
            if old in self._pool.seated:
                self._dismiss(old)
            self._successor = None
            self._renewed += 1
            self._next()

    def dead(self, worker: WorkerProcess) -> None:
        """A worker died: if it is the successor, nothing is renewed any more."""
        if worker is self._successor:
            self._successor = None
            words = f": {worker.last_words}" if worker.last_words else ""
            self._end(False, f"the new worker of slot {worker.slot} died at birth{words}; {self._renewed} are renewed")

    def _end(self, good: bool, text: str) -> None:
        done, self._done = self._done, None
        assert done is not None
        done(good, text)
