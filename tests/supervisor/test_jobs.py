"""What is said of a job that brings nothing."""

import os
import signal
import time
from dataclasses import dataclass

from supervisor.control.language.lookups import Job, Result
from supervisor.master.jobs import Jobs
from tests.patience import patient
from tests.supervisor.turning import closed_loop, turn_until


@dataclass(frozen=True)
class Dawdle(Job):
    """Takes longer than it has."""

    def perform(self) -> None:
        time.sleep(60)


@dataclass(frozen=True)
class Perish(Job):
    """Is killed before it has brought anything."""

    def perform(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def brings(job: Job, *, seconds: float) -> Result:
    """What comes back of a job that has so many seconds."""
    results: list[Result] = []
    with closed_loop() as loop:
        Jobs(loop, lambda _keep: None).send(job, results.append, seconds=seconds)
        turn_until(loop, lambda: bool(results))
    return results[0]


def test_a_job_that_is_too_slow_is_told_its_own_time() -> None:
    """How long it had, and not how long jobs have as a rule."""
    assert brings(Dawdle(), seconds=0.2).failure == "no answer within 0.2 s"


def test_a_job_that_dies_is_not_too_slow() -> None:
    """It is said what its process died of: it had time enough."""
    assert brings(Perish(), seconds=patient(60)).failure == "the process that was to do it has died (SIGKILL)"
