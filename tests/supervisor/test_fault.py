"""What is told of an error of ours: enough to find it, and nothing that could be a secret."""

import re

from supervisor.runtime.fault import kind_and_location_of, location_of

CANARY = "canary-4711"


def deeper() -> None:
    raise KeyError(CANARY)


def test_kind_and_place() -> None:
    """The innermost line, where it was raised; its text is not there."""
    try:
        deeper()
    except KeyError as error:
        told = kind_and_location_of(error)
    line = deeper.__code__.co_firstlineno + 1
    assert told == f"KeyError at test_fault.py:{line}"
    assert not re.search(CANARY, told)


def test_one_that_was_never_raised() -> None:
    """It has no place."""
    assert location_of(ValueError(CANARY)) == "?"
