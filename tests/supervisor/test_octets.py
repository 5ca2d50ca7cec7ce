"""Octets and tuples as lines and logins need them: the same in both forms."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.octets import fields_of, is_plain, joined, namedtuple_of


class Place(NamedTuple):
    """Something with names."""

    host: str
    port: int = 110


def test_a_tuple_with_names_is_made_of_its_fields() -> None:
    """It is what its own way would have made."""
    made = namedtuple_of(Place, ("h", 1))
    assert made == Place("h", 1)
    assert type(made) is Place
    assert (made.host, made.port) == ("h", 1)
    assert made._replace(port=2) == Place("h", 2)


def test_it_is_found_by_its_hash() -> None:
    """Which is that of any tuple of these fields: since Python 3.14 a tuple remembers it, and ours is made in C."""
    made = namedtuple_of(Place, ("h", 1))
    assert hash(made) == hash(Place("h", 1)) == hash(("h", 1))
    assert {Place("h", 1): "there"}[made] == "there"


def test_its_fields_come_back_as_a_plain_tuple() -> None:
    """Which is another one: that it is taken apart does not harm the first."""
    made = Place("h")
    assert type(fields_of(made)) is tuple
    assert fields_of(made) == ("h", 110)
    assert made == Place("h")


@pytest.mark.parametrize("kind", [str, dict, Exception])
def test_only_tuples_are_made(kind: type) -> None:
    """Whoever errs here is told so, also in C."""
    with pytest.raises(TypeError):
        namedtuple_of(kind, ("h", 1))


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_octets_stand_one_behind_the_other(first: bytes, second: bytes) -> None:
    """However many there are, also none."""
    assert joined(first, second) == first + second


@given(st.binary(max_size=8) | st.from_regex(rb"[ -~]{0,9}", fullmatch=True))
def test_octets_are_plain_that_are_printable(octets: bytes) -> None:
    """As Python has it of text, blanks included; nothing else than ASCII is."""
    assert is_plain(octets) == all(octet < 0x80 and chr(octet).isprintable() for octet in octets)
