"""How long refusals take where several modules are asked: all as long as those for which all of them were. Pure.

Whom the first module knows is refused when that one has answered, who is unknown when all have: by that the one could
be told from the other. So a worker keeps the longest time from question to refusal, for as long as it asks the same
modules, and a refusal that is sooner there waits for the rest of it. Nothing of that is forgotten: what a stranger can
have refused quickly would else let him see how long the next one takes.

The waiting is a deadline of the session: no thread, no hash, and what a failure costs (log, counters, limits) is done
when it is known, so that who hangs up saves nothing. Who may come in waits for nothing; but for SCRAM, where challenges
come before anybody has shown anything, and are made alike too.

Sessions look at their deadlines four times a second (`supervisor/serving/wheel.py`), by when they are due and not by
when they were set: what was shorter than that is not seen any more.
"""

from collections.abc import Callable, Sequence

from popular.pdm.contract import SCRAM, AnyModule
from popular.pdm.decision import Decision, ToHandOn, ToProve, Undecided
from popular.pdm.steps import kinds_of
from popular.pdm.where import Where, where_asked, where_asked_together

AT_FIRST_SECONDS = 0.2
"""What is waited for as long as nothing was seen."""
MOST_SECONDS = 1.0
"""Nobody waits longer, whatever a module that hangs has cost somebody."""
STEP_SECONDS = 0.05
"""To the next one it is rounded up, so that who takes a little longer than all before is late for nothing."""
_UNTIMED = "locked"
"""Why somebody is refused whom the operator may have kept waiting before."""


def alike(longest: float) -> float:
    """How long all shall take, if this was the longest, in seconds."""
    return float(min(MOST_SECONDS, (int(longest / STEP_SECONDS) + 1) * STEP_SECONDS))


class RefusalTimes:
    """How long refusals and challenges have taken at most, in seconds, of one worker and the same modules."""

    __slots__ = ("_challenges", "_now", "_refusals", "modules")

    def __init__(self, modules: Sequence[AnyModule], now: Callable[[], float], *, challenges: bool) -> None:
        """`now` tells the time in seconds; `challenges`: several modules have keys of SCRAM."""
        self.modules = modules
        self._now = now
        self._refusals = AT_FIRST_SECONDS
        self._challenges = AT_FIRST_SECONDS if challenges else None

    def moment(self) -> float:
        """When it is, for whom somebody is asked now."""
        return self._now()

    def of_refusals(self) -> float:
        """How long a refusal takes at least, for now."""
        return self._refusals

    def left_to_refusal(self, asked: float, why: str) -> float:
        """For how many seconds a login that was asked about then, and is refused for this reason, is to wait."""
        now = self._now()
        if why != _UNTIMED:
            self._refusals = max(self._refusals, alike(now - asked))
        return max(0.0, asked + self._refusals - now)

    def left_to_challenge(self, asked: float, decision: Decision) -> float:
        """For how many seconds the challenge is to wait that follows on what the modules have said."""
        if self._challenges is None:
            return 0.0
        now = self._now()
        # One that cannot tell may have hung: what that took is no measure.
        doubtful = isinstance(decision, Undecided) or (isinstance(decision, (ToProve, ToHandOn)) and decision.doubt)
        if not doubtful:
            self._challenges = max(self._challenges, alike(now - asked))
        return max(0.0, asked + self._challenges - now)


def refusal_times(
    modules: Sequence[AnyModule], now: Callable[[], float], *, before: RefusalTimes | None = None
) -> RefusalTimes | None:
    """None where there is nothing to be made alike: no kind of credential is looked at by more than one module, or all
    of them are asked at once. `before`: what was seen under the config of before.
    """
    kinds = [kind for module in modules for kind in kinds_of(module)]
    if len(kinds) == len(set(kinds)) or where_asked_together(map(where_asked, modules)) is Where.AT_ONCE:
        return None
    if before is not None and before.modules == modules:
        return before
    return RefusalTimes(modules, now, challenges=kinds.count(SCRAM) > 1)
