"""The census: whom each configuration and each worker still serves."""

import pytest

from supervisor.control.commands.generations import Served, by_config, by_process
from supervisor.control.language.inforce import InForceSince

IN_FORCE = [
    InForceSince(1, wall=100.0, clock=0.0),
    InForceSince(3, wall=200.0, clock=100.0),
    InForceSince(4, wall=300.0, clock=200.0),
]


@pytest.mark.parametrize(
    ("began", "found"),
    [
        ([], {4: Served()}),
        ([150.0, 120.0, 199.9], {1: Served(3, 120.0), 4: Served()}),
        ([200.0, 299.0, 300.0], {3: Served(2, 200.0), 4: Served(1, 300.0)}),
        ([99.0], {1: Served(1, 99.0), 4: Served()}),
        ([1e9], {4: Served(1, 1e9)}),
    ],
)
def test_a_session_is_that_of_the_configuration_when_it_began(began: list[float], found: dict[int, Served]) -> None:
    """One that the clock has put before the first is the first's; the last one is named in any case."""
    assert by_config(IN_FORCE, [{"started": moment} for moment in began]) == found


def test_births_are_counted_by_process() -> None:
    """A worker that serves nobody is not among them."""
    rows = [{"pid": 1, "started": 5.0}, {"pid": 2, "started": 4.0}, {"pid": 1, "started": 3.0}]
    assert by_process(rows) == {1: Served(2, 3.0), 2: Served(1, 4.0)}
