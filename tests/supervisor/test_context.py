"""What a worker has for what may take long."""

import os

import pytest

from supervisor.serving.context import threads_to_compute


@pytest.mark.parametrize(
    ("workers", "processors", "threads"),
    [(1, 1, 2), (2, 2, 2), (1, 4, 5), (4, 4, 2), (8, 2, 2), (2, 8, 5), (1, 64, 8), (3, 8, 4)],
)
def test_threads_to_compute(workers: int, processors: int, threads: int) -> None:
    """A worker's share of the processors and one more; two at least, as many as the pool has at most."""
    assert threads_to_compute(workers, processors) == threads


def test_the_processors_are_those_that_it_may_use() -> None:
    """A process that is bound to one of many counts one."""
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert threads_to_compute(1) == 2
    finally:
        os.sched_setaffinity(0, allowed)
    assert threads_to_compute(1) == threads_to_compute(1, len(allowed))
