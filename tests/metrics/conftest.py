"""The table of sample.py, alive, and a run directory that leads to it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.table import segment
from supervisor.table.segment import Segment, path_of
from tests.metrics.sample import written


@pytest.fixture
def living() -> Iterator[Segment]:
    """A table with two workers and three sessions."""
    made = written(f"/popular-test-{os.getpid()}")
    try:
        yield made
    finally:
        segment.remove(made.name)


@pytest.fixture
def rundir(tmp_path: Path, living: Segment) -> Path:
    """A run directory whose pproxy.state leads to the table."""
    (tmp_path / "pproxy.state").symlink_to(path_of(living.name))
    return tmp_path
