"""The rings behind the small graphs, with a clock that the test turns."""

import tracemalloc

import pytest

from metrics.history import SPANS, History


def filled(seconds: int, a_second: int = 3) -> History:
    """So many seconds in which sessions count up, and three logins come in each."""
    history = History(("sessions", "load"), ("logins", "failures"))
    for second in range(seconds):
        history.add(1000.0 + second, (second, second / 10, a_second * second, second // 2))
    return history


def test_nothing_is_known_at_first() -> None:
    """Without two samples there is no rate and no point."""
    history = filled(1)
    assert history.rates() == {"logins": 0.0, "failures": 0.0}
    assert history.series("2m")["sessions"] == []


def test_a_point_a_second() -> None:
    """Values, and rates from the differences of the counters."""
    series = filled(6).series("2m")
    assert (series["step"], series["points"]) == (1, 120)
    assert series["sessions"] == [1, 2, 3, 4, 5]
    assert series["logins"] == [3.0] * 5
    assert series["failures"] == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert series["load"] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_the_oldest_are_forgotten() -> None:
    """Two minutes by the second and an hour by ten: never more, however long it runs."""
    history = filled(10_000)
    minutes, hour = history.series("2m"), history.series("1h")
    assert minutes["sessions"] == list(range(9880, 10_000))
    assert len(hour["sessions"]) == SPANS["1h"].points == 360
    assert hour["sessions"][-2:] == [9980, 9990]
    assert set(hour["logins"]) == {3.0}, "a rate a second, also where the points are ten seconds apart"


def test_a_missed_second_spoils_nothing() -> None:
    """After a pause the rate is that of the whole pause."""
    history = filled(3)
    history.add(1012.0, (5, 0.0, 36, 1))
    assert history.series("2m")["logins"] == [3.0, 3.0, 3.0]
    assert history.rates()["logins"] == 3.0


def test_two_samples_of_one_second_are_one() -> None:
    """A second sample too early is not a point of its own."""
    history = filled(3)
    history.add(1002.2, (99, 0.0, 99, 99))
    assert history.series("2m")["sessions"] == [1, 2]


def test_a_table_made_anew_is_no_negative_rate() -> None:
    """Counters that begin at 0 again count as nothing."""
    history = filled(5)
    history.add(1005.0, (0, 0.0, 0, 0))
    assert history.series("2m")["logins"][-1] == 0.0


@pytest.mark.parametrize("a_second", [0, 1, 250])
def test_the_rate_of_the_moment_is_that_of_five_seconds(a_second: int) -> None:
    """Not of the last second alone, which would flicker."""
    assert filled(60, a_second).rates()["logins"] == a_second


def test_it_does_not_grow() -> None:
    """Not in its first hour either: what it will need it has from the beginning."""
    history = filled(10)
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot()
        for second in range(3600):
            history.add(2000.0 + second, (second, second / 7, 10**6 + second, second))
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    grown = [one for one in after.compare_to(before, "filename") if one.traceback[0].filename.endswith("history.py")]
    assert sum(one.size_diff for one in grown) < 8000, "a ring of tuples takes 100,000"
