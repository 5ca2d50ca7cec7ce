"""What several files of tests of the proxy have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy.recording_worker import Worker


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """For tests of the flight recorder; those of other parts have one of their own."""
    made = Worker(tmp_path)
    yield made
    made.pool.shutdown()
    made.loop.close()
