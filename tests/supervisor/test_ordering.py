"""Orders by which sessions are to end: who hears that nobody is left. Fakes of what carries them out."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from supervisor.control.lookups import Job
from supervisor.control.outcome import SessionSweep
from supervisor.lifeline import SweepFound
from supervisor.master.jobs import Jobs
from supervisor.master.keeping import StateKeeper
from supervisor.master.ordering import Ordering
from supervisor.master.sweeping import Sweeps


class TellThem(Job):
    def perform(self) -> None: ...


class Around:
    """A sweep that finds nobody, and the jobs that are sent."""

    def __init__(self) -> None:
        self.sent: list[Job] = []

    def listed(self) -> list[dict[str, Any]]:
        return []

    def begin(
        self, _sort: str, _ident: str, *, first: Callable[[SweepFound], None], over: Callable[[], None], **_more: object
    ) -> None:
        first(SweepFound())
        over()

    def send(self, job: Job, _done: object) -> None:
        self.sent.append(job)


@pytest.mark.parametrize("company", [False, True])
def test_nobody_is_left_only_where_all_sessions_are_seen(company: bool) -> None:
    """Another instance may have one of his: who moves his mail must not hear that he is gone."""
    around = Around()
    made = cast(Any, around)
    ordering = Ordering(cast(StateKeeper, made), cast(Sweeps, made), lambda: company, jobs=cast(Jobs, made))
    sweep = SessionSweep("", sort="user", id="default:joe", gentle=True, deadline=None, gone=TellThem())
    answers: list[str] = []
    ordering.sweep(sweep, lambda _done, text, _lines: answers.append(text))
    assert len(around.sent) == (0 if company else 1)
    assert len(answers) == 1
