"""What the machines of one virtual server have in common under one config."""

from collections.abc import Mapping

from popular.proxy.session.known import NO_LIMITS, BackendKnowledge, LoginLimits, PollMemory
from popular.proxy.session.refusals import Refusals
from popular.proxy.session.rules import Rules


class Surroundings:
    """Made once, so that a session takes one thing over and not six."""

    __slots__ = ("announced", "limited", "limits", "polls", "refusals", "rules")

    def __init__(
        self,
        rules: Rules,
        *,
        refusals: Mapping[str, Refusals],
        announced: Mapping[str, BackendKnowledge],
        limits: LoginLimits = NO_LIMITS,
        polls: PollMemory | None = None,
        limited: bool = True,
    ) -> None:
        """What all sessions together know of each backend: `refusals`, and what it has `announced`. `limited`: whether
        `limits` are to be asked what they do. `polls`: who may answer a login without its backend.
        """
        self.rules = rules
        self.refusals = refusals
        self.announced = announced
        self.limits = limits
        self.polls = polls
        self.limited = limited
