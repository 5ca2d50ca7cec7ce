"""How long tests wait at most. Every limit of time in the tests is `patient(SECONDS)`, so that one variable scales all.

    POPULAR_TEST_PATIENCE=5 make test     # on a machine that is slow, or busy with other things

Only a test that fails waits until its limit: a larger factor makes no passing test slower. The time that pytest gives
to a whole test is scaled as well (tests/conftest.py).
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

FACTOR = float(os.environ.get("POPULAR_TEST_PATIENCE", "1"))
"""1 is right for an idle machine with two processors."""


def patient(seconds: float) -> float:
    """The limit for something that takes less than `seconds` on an idle machine."""
    return seconds * FACTOR


MARGIN = 10
"""How far a bound lies from the goal: figures of time are shown by `make bench`, a test asserts that nothing is badly
wrong."""


@contextmanager
def within(goal_seconds: float, what: str = "") -> Iterator[None]:
    """What is done in here takes ten times the goal at most. For what counting cannot show: prefer to count."""
    began = time.monotonic()
    yield
    took, most = time.monotonic() - began, patient(MARGIN * goal_seconds)
    assert took < most, f"{took:.2f} s instead of {most:g}: {what}"


PATIENCE = patient(10.0)
"""For whatever has no reason to take long."""
