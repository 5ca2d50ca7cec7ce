"""How soon a backend that stops is found down, and that a slow one is not: by a clock that the test turns."""

import pytest

from popular.proxy.checks.rhythm import LONGEST_CHECK, Streak, patience_with, pause_behind
from popular.proxy.settings.backend import Backend
from tests.proxy.session_rules import backend

STEPS = 50


def checked_every(interval: int, **words: int) -> Backend:
    return backend("pop").with_parameters({"health": "greeting", "healthinterval": interval, **words})


def found_down(one: Backend, stops: float, *, takes: float = 0.0) -> float:
    """When it is found down that answers within `takes` seconds until it stops, to begin with at 0, and then takes
    connections and says nothing.
    """
    streak, patience, now = Streak(one), patience_with(one), 0.0
    while True:
        is_there = now + takes < stops and takes < patience.answer
        took = takes if is_there else patience.answer
        is_well = streak.add(is_there)
        now += took
        if is_well is False:
            return now
        assert now < stops + 100 * one.healthinterval, "it is never found down"
        now += pause_behind(one, is_well, took)


@pytest.mark.parametrize("interval", [2, 3, 10, 60, 3600])
@pytest.mark.parametrize("takes", [0.0, 0.1])
def test_one_that_stops_is_found_down_within_two_intervals(interval: int, takes: float) -> None:
    """Wherever between two checks it stopped, and also if it stopped in the middle of one."""
    one = checked_every(interval)
    first = 3.0 * interval
    waits = [found_down(one, first + step * interval / STEPS, takes=takes) for step in range(2 * STEPS)]
    longest = max(wait - (first + step * interval / STEPS) for step, wait in enumerate(waits))
    assert interval < longest < 2 * interval


def test_one_that_refuses_is_found_down_at_the_hurried_rate() -> None:
    """A check that fails at once is followed by the next in a quarter of the interval, and not at once."""
    one = checked_every(8)
    assert pause_behind(one, None, 0.0) == 2.0
    assert pause_behind(one, None, 1.5) == 0.5
    assert pause_behind(one, None, 5.0) == 0.0
    assert pause_behind(one, False, 3.0) == pause_behind(one, True, 3.0) == 5.0


@pytest.mark.parametrize(
    ("interval", "timeout", "answer", "whole"),
    [(1, 0, 0.5, 1.0), (2, 0, 2 / 3, 2.0), (10, 0, 10 / 3, 10.0), (10, 8, 8.0, 10.0), (2, 5, 5.0, 5.0)],
)
def test_how_long_a_check_may_take(interval: int, timeout: int, answer: float, whole: float) -> None:
    """Each answer a third of the interval, or what the operator says; all of them the interval, or one answer."""
    assert patience_with(checked_every(interval, healthtimeout=timeout)) == pytest.approx((answer, whole))


def test_no_check_takes_longer_than_half_a_minute() -> None:
    """However long the interval is."""
    assert patience_with(checked_every(3600)) == (LONGEST_CHECK, LONGEST_CHECK)
