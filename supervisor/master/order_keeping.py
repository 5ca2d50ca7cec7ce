"""Carries out what the operator orders: kept and in force first (keeping.py), then the sessions that it is about."""

import time
from collections.abc import Callable, Iterable, Sequence

from supervisor.control.language.lookups import Result
from supervisor.control.language.outcome import Action, CommandDone, Ordered, SessionSweep
from supervisor.control.language.replytext import noted
from supervisor.master.jobs import Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.sweeping import MOST_SWEEPS, Sweeps, described
from supervisor.operatorstate import OrderEntry, pending
from supervisor.serving.session import COMMITTING_SECONDS, CutCost
from supervisor.workerline import Cut, SweepFound

Told = Callable[[tuple[OrderEntry, ...], str], None]
SweepsOf = Callable[[Iterable[OrderEntry], float], Sequence[SessionSweep]]

_COMPANY = "another instance serves here too, and its sessions are not among them"
_NOT_THERE = "not in force at another instance, which serves here too"


def kept_with(result: Result) -> tuple[OrderEntry, ...]:
    """What is to be kept with an order of which others were told."""
    return result.value if isinstance(result.value, tuple) else ()


def _when_gone(found: SweepFound, seconds: float | None) -> str:
    """When those who are left will be ended; nothing where that is up to them."""
    if not found.left or seconds is None:
        return ""
    of_quit = f"{seconds + COMMITTING_SECONDS:g} s"
    if not seconds:
        return f"; {found.left} left, until QUIT is answered, {of_quit} at most"
    commits = sum(found.counts[CutCost.COMMITTING :]) > 0
    return f"; {found.left} left, ended in {seconds:g} s at the latest" + f", after QUIT in {of_quit}" * commits


def _cut_of(action: SessionSweep) -> Cut:
    """Whom a sweep ends before its deadline."""
    return Cut.GENTLE if action.gentle else Cut.NONE


class OrderKeeping:
    """Puts orders into force: the other proxies know of them, then the disk, then every worker; then it is answered."""

    def __init__(
        self,
        keeper: StateKeeper,
        sweeps: Sweeps,
        *,
        has_company: Callable[[], bool],
        company: Callable[[], str],
        jobs: Jobs,
        sweeps_of: SweepsOf,
    ) -> None:
        """`has_company`: whether there may be sessions that nobody here sees; `company`: who has them, for people.
        `sweeps_of`: see Program.
        """
        self._jobs = jobs
        self._keeper = keeper
        self._sweeps = sweeps
        self._has_company = has_company
        self._company = company
        self._sweeps_of = sweeps_of

    def tell_others(self, action: Action, entries: tuple[OrderEntry, ...], answer: CommandDone, *, then: Told) -> None:
        """Others are told first, if there are any; `then` goes on with what is to be kept after that, and a note.
        Without it being called it is refused.
        """
        if action.told is None:
            then(entries, self._not_there() if entries else "")
            return

        def told(result: Result) -> None:
            if result.failure is None:
                then((*entries, *kept_with(result)), "")
            elif action.surely_told:
                answer(False, f"the other proxies cannot be told ({result.failure}); nothing was changed", ())
            else:
                then(pending(entries), f"only here, until the other proxies can be told ({result.failure})")

        self._jobs.send(action.told, told)

    def _not_there(self) -> str:
        """Where our clients are served too, and nobody hears of it. What a cluster is told all instances hear."""
        if not self._has_company():
            return ""
        who = self._company()
        return f"{_NOT_THERE}: {who}" if who else _NOT_THERE

    def put_in_force(self, ordered: Ordered, answer: CommandDone) -> None:
        """Something is ordered, or an order ended."""
        self.tell_others(
            ordered,
            ordered.entries,
            answer,
            then=lambda entries, note: self.keep(noted(ordered.text, *ordered.notes), entries, answer, note=note),
        )

    def keep(self, text: str, entries: tuple[OrderEntry, ...], answer: CommandDone, *, note: str) -> None:
        """In force, on the disk, then answered."""

        def kept(done: bool, unkept: str) -> None:
            self._sweeps.end_of(entry[:2] for entry in entries if entry.value is None)
            answer(done, noted(text, note, unkept) if done else unkept, ())

        self._keeper.change(entries, kept)

    def take_up(self, said: Sequence[OrderEntry]) -> None:
        """Orders that were said, or ended, at a newer instance which is gone: they are in force here by now, and who is
        here is swept as they want it. Nobody waits for an answer.
        """
        self._sweeps.end_of(entry[:2] for entry in said)
        for action in self._sweeps_of((entry for entry in said if entry.value is not None), time.time()):
            if self._sweeps.is_full():
                break
            self._sweeps.begin(
                action.sort,
                action.id,
                cut=_cut_of(action),
                seconds=action.deadline,
                first=lambda _found: None,
                orders=[entry[:2] for entry in action.entries],
            )

    def sweep(self, action: SessionSweep, answer: CommandDone) -> None:
        """Something is ordered by which sessions are to end; the answer tells what there was in the first round."""
        if self._sweeps.is_full():
            answer(False, f"{MOST_SWEEPS} sweeps are under way, more cannot be; nothing was changed", ())
            return
        self.tell_others(
            action, action.entries, answer, then=lambda entries, note: self._sweep(action, entries, answer, note=note)
        )

    def _sweep(self, action: SessionSweep, entries: tuple[OrderEntry, ...], answer: CommandDone, *, note: str) -> None:
        gone = action.gone

        def kept(_done: bool, unkept: str) -> None:
            def first(found: SweepFound) -> None:
                company = _COMPANY if self._has_company() else ""
                line = f"{action.text}: {described(found)}{_when_gone(found, action.deadline)}"
                data = {"sort": action.sort, "id": action.id, "left": found.left, "seconds_left": action.deadline}
                data["found"] = described(found)
                told = action.with_finding(noted(line, *action.notes, note, unkept, company), data, line)
                answer(True, told.text, told.data_lines())

            self._sweeps.begin(
                action.sort,
                action.id,
                cut=_cut_of(action),
                seconds=action.deadline,
                first=first,
                over=nobody_is_left,
                before=action.before,
                orders=wanted_by,
            )

        def nobody_is_left() -> None:
            # Another instance may have sessions that nobody here sees: then it is never said, and a move fails.
            if gone is not None and not self._has_company():
                self._jobs.send(gone, lambda _result: None)

        wanted_by = [entry[:2] for entry in action.entries]
        if entries:
            self._sweeps.end_of(wanted_by)  # said again, an order has the deadline that was said last
            self._keeper.change(entries, kept)
        else:
            kept(True, "")
