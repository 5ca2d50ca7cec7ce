"""Networks that are blocked, and notes for the operator, as other processes see them."""

import ipaddress
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.table.blocked import BLOCKED_OCTETS, MOST_BLOCKED, Blocked, Network
from supervisor.table.notes import MOST_NOTES, NOTES_OCTETS, Note, Notes

NOW = 1000.0


def net(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


def test_who_is_blocked_and_until_when() -> None:
    """By network, in either family; a mapped address is the one that it stands for."""
    memory = memoryview(bytearray(BLOCKED_OCTETS))
    writer, reader = Blocked(memory), Blocked(memory)
    assert reader.head.read(0) == 0
    writer.write({net("192.0.2.0/24"): 0.0, net("198.51.100.7"): NOW + 5, net("2001:db8::/32"): 0.0})

    assert reader.head.read(0) != 0
    for address in ("192.0.2.200", "::ffff:192.0.2.1", "198.51.100.7", "2001:db8:1::1%eth0"):
        assert reader.blocks(address, NOW), address
    for address in ("192.0.3.1", "198.51.100.8", "2001:db9::1", "::1"):
        assert not reader.blocks(address, NOW), address
    assert not reader.blocks("198.51.100.7", NOW + 6)
    writer.write({})
    assert not reader.blocks("192.0.2.200", NOW)


def test_a_list_that_is_being_written_does_not_count_yet() -> None:
    """The one before does."""
    memory = memoryview(bytearray(BLOCKED_OCTETS))
    reader = Blocked(memory)
    Blocked(memory).write({net("192.0.2.0/24"): 0.0})
    assert reader.blocks("192.0.2.1", NOW)
    memory[0] += 1  # odd: half of it is there
    memory[8:16] = bytes(8)
    assert reader.blocks("192.0.2.1", NOW)


NETWORKS = st.one_of(
    st.builds(
        lambda number, length: ipaddress.ip_network((number, length), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(0, 32),
    ),
    st.builds(
        lambda number, length: ipaddress.ip_network((number, length), strict=False),
        st.integers(2**64, 2**128 - 1),
        st.integers(0, 128),
    ),
)


@given(st.dictionaries(NETWORKS, st.floats(0, 1e10), max_size=20))
def test_what_is_written_is_what_is_listed(networks: dict[Network, float]) -> None:
    """Whatever networks there are, each blocks its first address and its last one."""
    memory = memoryview(bytearray(BLOCKED_OCTETS))
    Blocked(memory).write(networks)
    assert Blocked(memory).listed() == networks
    forever = dict.fromkeys(networks, 0.0)
    Blocked(memory).write(forever)
    for network in networks:
        for address in (network[0], network[-1]):
            if not getattr(address, "ipv4_mapped", None):
                assert Blocked(memory).blocks(str(address), NOW)


def test_there_is_room_for_so_many() -> None:
    """And all of them are found."""
    memory = memoryview(bytearray(BLOCKED_OCTETS))
    networks = {net(f"10.{number >> 8}.{number & 255}.0/24"): 0.0 for number in range(MOST_BLOCKED)}
    Blocked(memory).write(networks)
    reader = Blocked(memory)
    assert reader.listed() == networks
    assert reader.blocks("10.3.255.9", NOW)
    assert not reader.blocks("10.4.0.1", NOW)


@pytest.fixture
def notes() -> Iterator[Notes]:
    locks = os.memfd_create("locks")
    yield Notes(memoryview(bytearray(NOTES_OCTETS)), locks=locks)
    os.close(locks)


def note(number: int) -> Note:
    return Note(float(number), "usersessions", "192.0.2.1/32", namespace="default", user=f"u{number}", where="v1")


def test_the_last_notes_are_there(notes: Notes) -> None:
    """The newest first, so many as there is room for; texts are cut, never refused."""
    assert notes.listed() == []
    for number in range(MOST_NOTES + 10):
        notes.add(note(number))
    assert notes.listed() == [note(number) for number in range(MOST_NOTES + 9, 9, -1)]
    notes.add(note(1)._replace(user="ü" * 100 + "\udcff"))
    assert notes.listed()[0].user == "ü" * 48


def test_a_note_that_was_half_written_is_passed_over(notes: Notes) -> None:
    """Whoever wrote it is dead; the others are read."""
    for number in range(3):
        notes.add(note(number))
    notes._memory[8 + 4 + 20] ^= 1
    assert notes.listed() == [note(2), note(1)]
