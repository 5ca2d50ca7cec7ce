"""How many different ones there were: how far the estimate is from the truth, and whom it counts once."""

import hashlib
from collections.abc import Iterator

import pytest

from supervisor.table.distinct import REGISTERS, estimate, note


def digests(number: int, key: int = 0) -> Iterator[int]:
    """One for each of so many names, in a run with this key."""
    salt = key.to_bytes(8, "little")
    for name in range(number):
        made = hashlib.blake2b(name.to_bytes(8, "little"), digest_size=8, key=salt).digest()
        yield int.from_bytes(made, "little")


def registers_of(number: int, key: int = 0) -> bytearray:
    """What they hold when so many have come."""
    registers = bytearray(REGISTERS)
    for digest in digests(number, key):
        note(registers, digest)
    return registers


@pytest.mark.parametrize("number", [10, 100, 1000, 2500, 5000, 10_000])
def test_the_error_is_small(number: int) -> None:
    """A tenth at most, with each of five keys; and they do not all err to one side."""
    found = [estimate(registers_of(number, key)) for key in range(5)]
    assert all(abs(one - number) <= number / 10 for one in found), found
    assert abs(sum(found) / 5 - number) <= number / 20


@pytest.mark.nightly
def test_the_error_is_small_for_many() -> None:
    """Also of a hundred thousand."""
    found = [estimate(registers_of(100_000, key)) for key in range(20)]
    assert all(abs(one - 100_000) <= 10_000 for one in found), found


def test_nobody_and_one() -> None:
    """Nothing is an estimate there."""
    assert estimate(bytes(REGISTERS)) == 0
    assert estimate(registers_of(1)) == 1


def test_who_comes_again_counts_once() -> None:
    """However often, and whoever comes between."""
    registers = registers_of(1000)
    before = bytes(registers)
    for digest in digests(500):
        note(registers, digest)
    assert registers == before


@pytest.mark.parametrize("octet", [1, 55, 56, 255])
def test_whatever_lies_there_is_a_number(octet: int) -> None:
    """A copied file may hold anything."""
    assert estimate(bytes([octet]) * REGISTERS) > 0
    assert estimate(bytes([octet]) + bytes(REGISTERS - 1)) == 1
