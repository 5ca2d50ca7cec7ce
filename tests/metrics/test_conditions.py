"""What a thing was found to be, beside its configured state, as watchers tell it."""

from metrics.trouble import (
    concerns,
    failing_first,
    failure_of,
    is_failing,
    is_worth_a_word,
    last_error,
    without_its_words,
)
from supervisor.table.contents import DOWN, RECOVERING
from supervisor.table.segment import HealthReading

NOW = 1.8e9
WELL = HealthReading("b1", 100, 0, reason="", failed=0, since=0)
GONE = HealthReading(
    "b2",
    0,
    12,
    reason="down",
    failed=int(NOW) - 1,
    since=int(NOW) - 9,
    condition=DOWN,
    turned=NOW - 187,
    why="no route",
    by="check",
    users=1234,
)
AT_ONCE = GONE._replace(failed=int(GONE.turned) - 5, reason="connect")
QUIET = GONE._replace(ident="b3", bad=0, failed=0, since=0, users=0)
BACK = GONE._replace(ident="b4", good=5, bad=0, condition=RECOVERING, turned=NOW - 4)
FAILS = HealthReading("b5", 0, 12, reason="timeout", failed=int(NOW) - 1, since=int(NOW) - 61)


def test_one_that_is_down_fails_whether_anybody_tries_it_or_not() -> None:
    """It stands in front of those that only fail, with its own reason and since when."""
    assert [one.ident for one in failing_first([WELL, FAILS, BACK, QUIET, GONE])] == ["b2", "b3", "b5", "b1", "b4"]
    assert [is_failing(one) for one in (WELL, GONE, QUIET, BACK, FAILS)] == [False, True, True, False, True]
    (concern,) = concerns({}, {"backend": [WELL, QUIET]}, NOW)
    assert (concern.text, concern.is_urgent) == ("1 of 2 backends fails", True)
    assert concern.detail == "b3: down, no route, since 3m07s."


def test_each_is_told_by_its_word() -> None:
    """Id, state, failures, attempts, share, last error, how long ago, for how long, for how many users."""
    assert failure_of(GONE, NOW) == ("b2", "down", "12", "12", "100%", "no route", "1s", "3m07s", "1,200")
    assert failure_of(QUIET, NOW) == ("b3", "down", "0", "0", "0%", "no route", "", "3m07s", "")
    assert failure_of(BACK, NOW)[:2] == ("b4", "recovering")
    assert [is_worth_a_word(one) for one in (WELL, GONE, QUIET, BACK, FAILS)] == [False, True, True, True, True]


def test_without_its_words_it_is_told_by_its_kind() -> None:
    """By the failure of then; one of long ago tells nothing of it, and none that only follows from it."""
    told = [last_error(without_its_words(one)) for one in (AT_ONCE, QUIET, FAILS, WELL)]
    assert told == ["connect", "found by the check", "timeout", ""]
    assert without_its_words(AT_ONCE._replace(failed=int(GONE.turned) - 999)).why == "found by the check"
    assert without_its_words(AT_ONCE._replace(reason="down")).why == "found by the check"
