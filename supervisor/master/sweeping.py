"""Sweeps: sessions of a user, a network or a configured thing are to be gone, gently; the workers look again and again.

A round asks every worker once, about all sweeps that are under way (worker/sweeper.py ends and counts). One after the
other; a sweep is over when a round has found nobody any more. It is about sessions that had begun when it began.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from supervisor.master.pool import Pool, WorkerProcess
from supervisor.runtime.loop import Loop
from supervisor.serving.session import COMMITTING_SECONDS, COST_PHRASES
from supervisor.workerline import Aim, Cut, Sweep, SweepFound, Swept

ROUND_SECONDS = 0.25
SLOW_ROUND_SECONDS = 1.0
"""From one round to the next; the slow ones when every sweep has lasted for a while."""
_A_WHILE = 10.0
MOST_SWEEPS = 4096


@dataclass(eq=False)
class _RunningSweep:
    number: int
    aim: Aim
    deadline: float
    """When all but QUITs are cut, of the monotonic clock; COMMITTING_SECONDS later they are too."""
    first: Callable[[SweepFound], None]
    over: Callable[[], None] | None
    orders: frozenset[tuple[str, str]] = frozenset()
    """The sort and id of each order that wants it; a kick is wanted by none, and ends with none."""
    found: SweepFound | None = None
    ended: bool = False
    """Nobody wants it any more, but whoever wanted it waits for what the first round finds."""

    def aim_at(self, now: float) -> Aim:
        """What is asked of a round at this time."""
        if now < self.deadline:
            return self.aim
        is_last = now >= self.deadline + COMMITTING_SECONDS
        return self.aim._replace(cut=Cut.COMMITTING_TOO if is_last else Cut.ALL)


class Sweeps:
    """Those that are under way."""

    def __init__(self, loop: Loop, pool: Pool) -> None:
        self._loop = loop
        self._pool = pool
        self._sweeps: dict[int, _RunningSweep] = {}
        self._number = 0
        self._round = 0
        self._asked: list[_RunningSweep] = []
        self._unanswered: set[WorkerProcess] = set()
        self._sums: list[SweepFound] = []
        self._waits = False

    def begin(
        self,
        sort: str,
        ident: str,
        *,
        cut: Cut,
        seconds: float | None,
        first: Callable[[SweepFound], None],
        over: Callable[[], None] | None = None,
        before: float | None = None,
        orders: Iterable[tuple[str, str]] = (),
    ) -> int:
        """Gives the number of the sweep. `seconds`: until all but QUITs are cut. `first` is told what the first round
        has found, and `over` called when nobody is left; both once, unless it is ended before. `before`: only of
        sessions that had begun by then, on the monotonic clock. `orders`: with the end of one of them it ends.
        """
        self._number += 1
        now = time.monotonic()
        deadline = now + seconds if seconds is not None else float("inf")
        aim = Aim(sort, ident, before=now if before is None else before, cut=cut)
        self._sweeps[self._number] = _RunningSweep(
            self._number, aim, deadline, first=first, over=over, orders=frozenset(orders)
        )
        if not self._unanswered:
            self._look()
        return self._number

    def end(self, number: int) -> None:
        """It is wanted no more."""
        self._sweeps.pop(number, None)

    def end_of(self, orders: Iterable[tuple[str, str]]) -> None:
        """Ends all sweeps that one of these orders wants. A kick with the same aim goes on: nobody has ended it."""
        ended = frozenset(orders)
        for number, sweep in list(self._sweeps.items()):
            if sweep.orders & ended:
                if sweep.found is not None:
                    del self._sweeps[number]
                else:
                    sweep.ended, sweep.aim, sweep.deadline = True, sweep.aim._replace(cut=Cut.NONE), float("inf")

    def left(self, number: int) -> SweepFound | None:
        """What the last round has found of it; None: none was made, or it is over."""
        sweep = self._sweeps.get(number)
        return sweep.found if sweep is not None else None

    def is_full(self) -> bool:
        """Whether no more can be begun."""
        return len(self._sweeps) >= MOST_SWEEPS

    def count_left(self) -> int:
        """How many sessions all of them wait for."""
        return sum(one.found.left for one in self._sweeps.values() if one.found is not None)

    def listed(self) -> list[dict[str, Any]]:
        """For people and programs."""
        now = time.monotonic()
        return [
            {
                "number": sweep.number,
                "sort": sweep.aim.sort,
                "id": sweep.aim.id,
                "left": sweep.found.left if sweep.found is not None else None,
                "seconds_left": None if sweep.deadline == float("inf") else max(0, round(sweep.deadline - now)),
                "found": described(sweep.found),
            }
            for sweep in self._sweeps.values()
        ]

    def hear(self, worker: WorkerProcess, swept: Swept) -> None:
        """A worker has made its round."""
        if swept.number != self._round or worker not in self._unanswered:
            return
        self._sums = [one.plus(other) for one, other in zip(self._sums, swept.found, strict=True)]
        self.forget(worker)

    def forget(self, worker: WorkerProcess) -> None:
        """A worker has answered, or is dead and has no sessions."""
        if worker in self._unanswered:
            self._unanswered.discard(worker)
            if not self._unanswered:
                self._conclude()

    def _look(self) -> None:
        self._asked = list(self._sweeps.values())
        if not self._asked:
            return
        now = time.monotonic()
        self._round += 1
        self._sums = [SweepFound() for _ in self._asked]
        aims = tuple(one.aim_at(now) for one in self._asked)
        self._unanswered = set(self._pool.workers)
        self._pool.tell_all(Sweep(self._round, aims))
        if not self._unanswered:
            self._conclude()

    def _conclude(self) -> None:
        told = []
        for sweep, found in zip(self._asked, self._sums, strict=True):
            if self._sweeps.get(sweep.number) is not sweep:
                continue
            is_first, sweep.found = sweep.found is None, found
            if not found.left or sweep.ended:
                del self._sweeps[sweep.number]
            told.append((sweep, is_first, found))
        self._asked = []
        self._look_again()
        for sweep, is_first, found in told:
            if is_first:
                sweep.first(found)
            if not found.left and sweep.over is not None:
                sweep.over()

    def _look_again(self) -> None:
        if not self._sweeps or self._waits:
            return
        fresh = any(one.found is None for one in self._sweeps.values())
        now = time.monotonic()
        young = any(now - one.aim.before < _A_WHILE for one in self._sweeps.values())
        self._waits = True
        self._loop.after(0.0 if fresh else ROUND_SECONDS if young else SLOW_ROUND_SECONDS, self._wake)

    def _wake(self) -> None:
        self._waits = False
        if not self._unanswered:
            self._look()


def described(found: SweepFound | None) -> str:
    """As "37 idle, 4 with uncommitted deletes, 1 committing"."""
    counts = zip(found.counts, COST_PHRASES.values(), strict=False) if found is not None else ()
    return ", ".join(f"{count} {phrase}" for count, phrase in counts if count) or "no session"
