"""How long tests wait at most. Every limit of time in the tests is `patient(SECONDS)`, so that one variable scales all.

    POPULAR_TEST_PATIENCE=5 make test     # on a machine that is slow, or busy with other things

Only a test that fails waits until its limit: a larger factor makes no passing test slower. The time that pytest gives
to a whole test is scaled as well (tests/conftest.py).
"""

import os

FACTOR = float(os.environ.get("POPULAR_TEST_PATIENCE", "1"))
"""1 is right for an idle machine with two processors."""


def patient(seconds: float) -> float:
    """The limit for something that takes less than `seconds` on an idle machine."""
    return seconds * FACTOR


PATIENCE = patient(10.0)
"""For whatever has no reason to take long."""
