"""Carries out what the operator orders: kept and in force first (keeping.py), then the sessions that it is about."""

from collections.abc import Callable

from supervisor.control.lookups import Result
from supervisor.control.outcome import Order, Ordered, SessionSweep
from supervisor.control.replytext import noted
from supervisor.master.executor import Answer
from supervisor.master.jobs import Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.sweeping import MOST_SWEEPS, Sweeps, described
from supervisor.operatorstate import OrderEntry, pending
from supervisor.workerline import Cut, SweepFound

Told = Callable[[tuple[OrderEntry, ...], str], None]

_COMPANY = "another instance serves here too, and its sessions are not among them"


def kept_with(result: Result) -> tuple[OrderEntry, ...]:
    """What is to be kept with an order of which others were told."""
    return result.value if isinstance(result.value, tuple) else ()


def _when_gone(found: SweepFound, seconds: float | None) -> str:
    """When those who are left will be ended; nothing where that is up to them."""
    if not found.left or seconds is None:
        return ""
    return f"; {found.left} left, " + (f"ended in {seconds:g} s at the latest" if seconds else "until QUIT is answered")


class Ordering:
    """Orders beside the configuration."""

    def __init__(self, keeper: StateKeeper, sweeps: Sweeps, has_company: Callable[[], bool], *, jobs: Jobs) -> None:
        """`has_company`: whether there may be sessions that nobody here sees."""
        self._jobs = jobs
        self._keeper = keeper
        self._sweeps = sweeps
        self._has_company = has_company

    def tell(self, order: Order, entries: tuple[OrderEntry, ...], answer: Answer, *, then: Told) -> None:
        """Others are told first, if there are any; `then` goes on with what is to be kept behind that, and a note.
        Without it being called it is refused.
        """
        if order.told is None:
            then(entries, "")
            return

        def told(result: Result) -> None:
            if result.failure is None:
                then((*entries, *kept_with(result)), "")
            elif order.surely_told:
                answer(False, f"the other proxies cannot be told ({result.failure}); nothing was changed", ())
            else:
                then(pending(entries), f"only here, until the other proxies can be told ({result.failure})")

        self._jobs.send(order.told, told)

    def order(self, order: Ordered, answer: Answer) -> None:
        """Something is ordered, or an order ended."""
        self.tell(
            order,
            order.entries,
            answer,
            then=lambda entries, note: self.keep(noted(order.text, *order.notes), entries, answer, note=note),
        )

    def keep(self, text: str, entries: tuple[OrderEntry, ...], answer: Answer, *, note: str) -> None:
        """In force, on the disk, then answered."""

        def kept(done: bool, unkept: str) -> None:
            self._sweeps.end_of(entry[:2] for entry in entries if entry.value is None)
            answer(done, noted(text, note, unkept) if done else unkept, ())

        self._keeper.change(entries, kept)

    def sweep(self, order: SessionSweep, answer: Answer) -> None:
        """Something is ordered by which sessions are to end; the answer tells what there was in the first round."""
        if len(self._sweeps.listed()) >= MOST_SWEEPS:
            answer(False, f"{MOST_SWEEPS} sweeps are under way, more cannot be; nothing was changed", ())
            return
        self.tell(
            order, order.entries, answer, then=lambda entries, note: self._sweep(order, entries, answer, note=note)
        )

    def _sweep(self, order: SessionSweep, entries: tuple[OrderEntry, ...], answer: Answer, *, note: str) -> None:
        gone = order.gone

        def kept(_done: bool, unkept: str) -> None:
            def first(found: SweepFound) -> None:
                company = _COMPANY if self._has_company() else ""
                line = f"{order.text}: {described(found)}{_when_gone(found, order.deadline)}"
                data = {"sort": order.sort, "id": order.id, "left": found.left, "seconds_left": order.deadline}
                data["found"] = described(found)
                told = order.with_finding(noted(line, *order.notes, note, unkept, company), data, line)
                answer(True, told.text, told.data_lines())

            cut = Cut.GENTLE if order.gentle else Cut.NONE
            self._sweeps.begin(
                order.sort,
                order.id,
                cut=cut,
                seconds=order.deadline,
                first=first,
                over=nobody_is_left,
                before=order.before,
                orders=wanted_by,
            )

        def nobody_is_left() -> None:
            # Another instance may have sessions that nobody here sees: then it is never said, and a move fails.
            if gone is not None and not self._has_company():
                self._jobs.send(gone, lambda _result: None)

        wanted_by = [entry[:2] for entry in order.entries]
        if entries:
            self._sweeps.end_of(wanted_by)  # said again, an order has the deadline that was said last
            self._keeper.change(entries, kept)
        else:
            kept(True, "")
