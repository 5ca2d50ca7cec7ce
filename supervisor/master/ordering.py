"""Carries out what the operator orders: kept and in force first (keeping.py), then the sessions that it is about."""

from collections.abc import Callable

from supervisor.control.outcome import Ordered, SessionSweep, noted
from supervisor.lifeline import Cut, SweepFound
from supervisor.master.executor import Answer
from supervisor.master.keeping import StateKeeper
from supervisor.master.sweeping import MOST_SWEEPS, Sweeps, described

_COMPANY = "another instance serves here too, and its sessions are not among them"


class Ordering:
    """Orders beside the configuration."""

    def __init__(self, keeper: StateKeeper, sweeps: Sweeps, has_company: Callable[[], bool]) -> None:
        """`has_company`: whether there may be sessions that nobody here sees."""
        self._keeper = keeper
        self._sweeps = sweeps
        self._has_company = has_company

    def order(self, order: Ordered, answer: Answer) -> None:
        """Something is ordered, or an order ended."""

        def kept(done: bool, note: str) -> None:
            for sort, ident in order.ends:
                self._sweeps.end_all(sort, ident)
            answer(done, noted(order.text, note) if done else note, ())

        self._keeper.change(order.entries, kept)

    def sweep(self, order: SessionSweep, answer: Answer) -> None:
        """Something is ordered by which sessions are to end; the answer tells what there was in the first round."""
        if len(self._sweeps.listed()) >= MOST_SWEEPS:
            answer(False, f"{MOST_SWEEPS} sweeps are under way, more cannot be; nothing was changed", ())
            return

        def kept(_done: bool, note: str) -> None:
            def first(found: SweepFound) -> None:
                company = _COMPANY if self._has_company() else ""
                answer(True, noted(f"{order.text}: {described(found)}", note, company), ())

            cut = Cut.GENTLE if order.gentle else Cut.NONE
            self._sweeps.begin(order.sort, order.id, cut=cut, seconds=order.deadline, first=first, before=order.before)

        if order.entries:
            self._sweeps.end_all(order.sort, order.id)  # said again, an order has the deadline that was said last
            self._keeper.change(order.entries, kept)
        else:
            kept(True, "")
