"""The two warning machines of the manual, and the pause between births."""

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.master.policy import LONGEST_PAUSE_SECONDS, pause_before_birth
from supervisor.runtime.load import Level, next_level, read_load, read_pressure

OK, WARN, MAX = Level.OK, Level.WARN, Level.MAX

TRANSITIONS = [
    # value, then what becomes of OK, WARN and MAX; the limit is 100
    (0, OK, OK, OK),
    (79, OK, OK, OK),
    (79.99, OK, OK, OK),
    (80, OK, WARN, WARN),
    (89, OK, WARN, WARN),
    (89.99, OK, WARN, WARN),
    (90, WARN, WARN, MAX),
    (99.99, WARN, WARN, MAX),
    (100, MAX, MAX, MAX),
    (5000, MAX, MAX, MAX),
]


@pytest.mark.parametrize(("value", "after_ok", "after_warn", "after_max"), TRANSITIONS)
def test_every_transition(value: float, after_ok: Level, after_warn: Level, after_max: Level) -> None:
    """Up at 90 and 100 %, down below 90 and 80 %, as the chapter has it."""
    assert [next_level(level, value, 100) for level in Level] == [after_ok, after_warn, after_max]


def test_a_limit_of_nothing_checks_nothing() -> None:
    """0 means that there is no limit."""
    assert {next_level(level, value, 0) for level in Level for value in (0, 1, 1e9)} == {OK}


@given(st.integers(1, 9999), st.integers(0, 12_000), st.sampled_from(Level))
def test_the_thresholds_are_exact_for_whole_numbers(limit: int, value: int, level: Level) -> None:
    """No rounding of 80 or 90 % makes a session too many or too few."""
    after = next_level(level, value, limit)
    assert (after is MAX) == (value >= limit or (level is MAX and 10 * value >= 9 * limit))
    assert (after is OK) == (10 * value < 8 * limit or (level is OK and 10 * value < 9 * limit and value < limit))


@given(st.sampled_from(Level), st.floats(0, 200), st.floats(0, 200))
def test_more_is_never_less(level: Level, one: float, other: float) -> None:
    """A higher value never leads to a lower state."""
    assert next_level(level, min(one, other), 100) <= next_level(level, max(one, other), 100)


@pytest.mark.parametrize(
    ("text", "load"),
    [
        *(("0.52 0.4 0.3 1/2 3\n", 0.52), ("12.00", 12.0), ("", None), ("x y", None), ("\n", None)),
        *((f"{word} 0.4 0.3 1/2 3\n", None) for word in ("nan", "inf", "-inf", "-0.5", "1e999", "\u00e9")),
    ],
)
def test_the_load_is_the_first_number(tmp_path: Path, text: str, load: float | None) -> None:
    """The one-minute average; whatever else is in the file is no load."""
    (tmp_path / "loadavg").write_text(text)
    assert read_load(tmp_path / "loadavg") == load
    assert read_load(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("word", "pressure"), [("12.50", 12.5), ("nan", None), ("inf", None), ("-1", None), (".", None), ("1.2.3", None)]
)
def test_a_pressure_is_a_number(tmp_path: Path, word: str, pressure: float | None) -> None:
    """A number that can be compared and shown, or none: one that cannot would end whoever reckons with it."""
    (tmp_path / "pressure").write_text(f"some avg10={word} avg60=0.00 total=1\nfull avg10=0.00\n")
    assert read_pressure(tmp_path / "pressure") == pressure


def test_a_pipe_that_nobody_writes_to_is_no_load(tmp_path: Path) -> None:
    """Nor does it hold whoever asks, with a writer that says nothing or without one."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert (read_load(fifo), read_pressure(fifo)) == (None, None)
    with open(os.open(fifo, os.O_RDWR), "wb"):
        assert (read_load(fifo), read_pressure(fifo)) == (None, None)


def test_births_that_fail_are_waited_for_longer_and_longer() -> None:
    """None after a life, half a second after the first death at birth, then double, up to half a minute."""
    pauses = [pause_before_birth(deaths) for deaths in range(12)]
    assert pauses[:4] == [0.0, 0.5, 1.0, 2.0]
    assert all(earlier <= later for earlier, later in itertools.pairwise(pauses))
    assert pause_before_birth(1000) == pauses[-1] == LONGEST_PAUSE_SECONDS
