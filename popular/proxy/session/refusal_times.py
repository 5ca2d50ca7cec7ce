"""How long refusals take where several modules are asked: all as long as those for which all of them were. Pure.

Whom the first module knows is refused when that one has answered, who is unknown when all have: by that the one could
be told from the other. So a worker keeps the longest time of late from question to refusal, and a refusal that is
sooner there waits for the rest of it. The waiting is a deadline of the session: no thread, no hash, and what a failure
costs (log, counters, limits) is done when it is known, so that who hangs up saves nothing. Who may come in waits for
nothing; but for SCRAM, where challenges come before anybody has shown anything, and are made alike too.

Sessions look at their deadlines four times a second (`supervisor/serving/wheel.py`), by when they are due and not by
when they were set: what was shorter than that is not seen any more.
"""

from collections.abc import Callable, Sequence

from popular.pdm.chain import Decision, NobodyKnows, ToHandOn, ToProve, Undecided, blocks, kinds_of
from popular.pdm.contract import SCRAM, AnyModule

AT_FIRST_SECONDS = 0.2
"""What is waited for as long as nothing was seen."""
MOST_SECONDS = 1.0
"""Nobody waits longer, whatever a module that hangs has cost somebody."""
STEP_SECONDS = 0.05
"""To the next one it is rounded up, so that who takes a little longer than all before is late for nothing."""
KEPT_SECONDS = 900.0
"""For how long at least the longest is remembered."""

OF_ALL = frozenset({"unknown", "backend"})
"""Why somebody is refused for whom all modules were asked, in the words of the counter."""
_UNTIMED = "locked"
"""Why somebody is refused whom the operator may have kept waiting before."""


class LongestLately:
    """The longest of the times that it is told, of the last quarter of an hour, and of the one before."""

    __slots__ = ("_before", "_lately", "_since")

    def __init__(self) -> None:
        self._before = 0.0
        self._lately = AT_FIRST_SECONDS - STEP_SECONDS / 2
        self._since = 0.0

    def tell(self, seconds: float, now: float, *, of_all: bool) -> None:
        """Only one of those that take longest has the old ones forgotten: a quiet night makes nobody look faster."""
        if of_all and now - self._since >= KEPT_SECONDS:
            self._before, self._lately, self._since = self._lately, 0.0, now
        self._lately = max(self._lately, seconds)

    @property
    def seconds(self) -> float:
        """How long all shall take."""
        longest = max(self._before, self._lately)
        return float(min(MOST_SECONDS, (int(longest / STEP_SECONDS) + 1) * STEP_SECONDS))


class RefusalTimes:
    """What a worker has seen of refusals and challenges, for as long as it asks the same modules."""

    __slots__ = ("_challenges", "_now", "_refusals", "modules")

    def __init__(self, modules: Sequence[AnyModule], now: Callable[[], float], *, challenges: bool) -> None:
        """`now` tells the time in seconds; `challenges`: several modules have keys of SCRAM."""
        self.modules = modules
        self._now = now
        self._refusals = LongestLately()
        self._challenges = LongestLately() if challenges else None

    def moment(self) -> float:
        """When it is, for whom somebody is asked now."""
        return self._now()

    def left_to_refusal(self, asked: float, why: str) -> float:
        """For how many seconds a login that was asked about then, and is refused for this reason, is to wait."""
        now = self._now()
        if why != _UNTIMED:
            self._refusals.tell(now - asked, now, of_all=why in OF_ALL)
        return max(0.0, asked + self._refusals.seconds - now)

    def left_to_challenge(self, asked: float, decision: Decision) -> float:
        """For how many seconds the challenge is to wait that follows on what the modules have said."""
        challenges = self._challenges
        if challenges is None:
            return 0.0
        now = self._now()
        # One that cannot tell may have hung: what that took is no measure.
        doubtful = isinstance(decision, Undecided) or (isinstance(decision, (ToProve, ToHandOn)) and decision.doubt)
        if not doubtful:
            challenges.tell(now - asked, now, of_all=isinstance(decision, NobodyKnows))
        return max(0.0, asked + challenges.seconds - now)


def refusal_times(
    modules: Sequence[AnyModule], now: Callable[[], float], *, before: RefusalTimes | None = None
) -> RefusalTimes | None:
    """None where there is nothing to be made alike: no kind of credential is looked at by more than one module, or all
    of them answer at once. `before`: what was seen under the config of before.
    """
    kinds = [kind for module in modules for kind in kinds_of(module)]
    if len(kinds) == len(set(kinds)) or not blocks(modules):
        return None
    if before is not None and before.modules == modules:
        return before
    return RefusalTimes(modules, now, challenges=kinds.count(SCRAM) > 1)
