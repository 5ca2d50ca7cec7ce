"""A configuration that was in force, as a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from supervisor.control.files.historyfile import (
    LONGEST_HEAD,
    MOST_COMMANDS,
    HistoryEntry,
    NoHistory,
    file_name,
    head_of,
    lines_in,
    number_in,
    to_octets,
)
from supervisor.control.files.rcfile import parse
from supervisor.control.words import LONGEST_LINE

TEXT = some.text(some.characters(exclude_categories=["Cs"]), max_size=30)
LINES = some.lists(some.text(some.characters(exclude_categories=["Cs", "Cc"]), min_size=1), max_size=5)


def _entry(name: str = "", reason: str = "", commands: tuple[str, ...] = ()) -> HistoryEntry:
    return HistoryEntry(
        number=7, when=1.5, uid=0, pid=9, name=name, reason=reason, commands=commands, more=0, comes=1, goes=2
    )


@given(TEXT, TEXT, some.lists(TEXT, max_size=3), LINES)
def test_what_is_written_is_read(name: str, reason: str, commands: list[str], lines: list[str]) -> None:
    """Whatever somebody has said of himself: it cannot become a command of the file."""
    entry = _entry(name, reason, tuple(commands))
    octets = to_octets(entry, lines)
    assert head_of(octets) == entry
    assert lines_in(octets) == lines


def test_the_longest_first_line_is_read_whole() -> None:
    """The longest commands, in the longest way to write them: such an entry is there after a restart too."""
    line = "\x01" * LONGEST_LINE
    entry = _entry(line, "", (line,) * MOST_COMMANDS)
    assert head_of(to_octets(entry, ["set grace 3s"])[:LONGEST_HEAD]) == entry


def test_it_is_an_rc_file() -> None:
    """The first line is a comment to whoever applies the file by hand."""
    octets = to_octets(_entry("ann", "a\nset grace 9s"), ["set grace 3s"])
    assert [command.text for command in parse(octets, "kept")] == ["set grace 3s"]


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"set grace 3s",
        b"# history",
        b"# history {}",
        b"# history []",
        b"# history " + b"[" * 100_000,
        b"# history " + json.dumps({"number": 7}).encode(),
        to_octets(_entry(), [])[:-1].replace(b'"number": 7', b'"number": "7"'),
        to_octets(_entry(), [])[:-1].replace(b'"when": 1.5', b'"when": 1e30'),
        to_octets(_entry(), [])[:-1].replace(b'"when": 1.5', b'"when": NaN'),
        to_octets(_entry(), [])[:-1].replace(b'"uid": 0', b'"uid": null'),
        to_octets(_entry(), [])[:-1].replace(b'"more": 0', b'"more": "x"'),
        to_octets(_entry(), [])[:-1].replace(b'"commands": []', b'"commands": [7]'),
    ],
)
def test_another_file_is_none(head: bytes) -> None:
    """Nothing is guessed of one that is damaged, or somebody else's."""
    with pytest.raises(NoHistory):
        head_of(head + b"\nset grace 3s\n")


@pytest.mark.parametrize(
    ("name", "number"), [("pproxy.000012.rc", 12), ("pproxy.1000000.rc", 10**6), ("pproxy.x.rc", 0), (".pproxy.1", 0)]
)
def test_the_number_in_a_name(name: str, number: int) -> None:
    """Also of a million."""
    assert number_in(name) == number
    assert not number or file_name("pproxy", number) == name
