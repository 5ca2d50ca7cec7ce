"""Whose turn it is: what one network can take from the others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.serving.network import network_of
from supervisor.serving.turns import Turns

MOST, MOST_OF_ONE = 12, 5
ADD = st.tuples(st.just("add"), st.sampled_from("abcdef"))
TAKE = st.tuples(st.just("take"), st.just(""))
REMOVE = st.tuples(st.just("remove"), st.integers(0, 200))
DEEDS = st.lists(ADD | ADD | TAKE | REMOVE, max_size=120)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_network_is_what_one_client_can_have(address: str, network: str) -> None:
    """An address of IPv4, and the /64 of one of IPv6."""
    assert network_of(address) == network


def test_networks_take_turns() -> None:
    """However many of one wait, one of another is next but one."""
    turns: Turns[str] = Turns(100, 50)
    for waiter in ("a1", "a2", "a3", "a4", "b1", "c1", "b2"):
        assert turns.add(waiter[0], waiter) is None
    assert [turns.take() for _ in range(8)] == ["a1", "b1", "c1", "a2", "b2", "a3", "a4", None]


def test_a_network_has_its_share_and_no_more() -> None:
    """The newcomer has to go."""
    turns: Turns[int] = Turns(MOST, MOST_OF_ONE)
    assert [turns.add("a", number) for number in range(7)] == [None] * 5 + [5, 6]


def test_where_all_places_are_taken_the_longest_line_makes_room() -> None:
    """Its last one goes; but not for one of its own, nor for one of a line as long."""
    turns: Turns[str] = Turns(6, 4)
    for waiter in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.add(waiter[0], waiter)
    assert turns.add("d", "d1") == "a3"
    assert turns.add("b", "b3") == "b3"
    assert turns.add("a", "a4") == "a4"
    assert len(turns) == 6


@given(DEEDS)
def test_nobody_waits_longer_than_one_turn_of_the_others(deeds: list[tuple[str, Any]]) -> None:
    """Whatever is added, taken and removed: the bounds hold; each line stays in its order; and between two takes of a
    network that waits, no other is taken twice.
    """
    turns: Turns[tuple[str, int]] = Turns(MOST, MOST_OF_ONE)
    waiting: list[tuple[str, int]] = []
    since: dict[str, list[str]] = {}
    """For each network that waits: who was taken since it had its last turn, or came."""
    for number, (deed, what) in enumerate(deeds):
        if deed == "add":
            waiter = (what, number)
            refused = turns.add(what, waiter)
            if refused is not waiter:
                waiting.append(waiter)
                since.setdefault(what, [])
            if refused is not None:
                assert len(waiting) > MOST or sum(one[0] == what for one in waiting) >= MOST_OF_ONE
                if refused is not waiter:
                    waiting.remove(refused)
        elif deed == "take":
            taken = turns.take()
            assert (taken is None) is (not waiting)
            if taken is not None:
                assert taken == next(one for one in waiting if one[0] == taken[0])
                waiting.remove(taken)
                for network, others in since.items():
                    others.append(taken[0])
                    assert network == taken[0] or len(set(others)) == len(others), f"{network} waited for {others}"
                since[taken[0]] = []
        elif what < len(waiting):
            gone = waiting.pop(what)
            assert turns.remove(*gone[:1], gone)
            assert not turns.remove(gone[0], gone)
        since = {network: others for network, others in since.items() if any(one[0] == network for one in waiting)}
        assert len(turns) == len(waiting) <= MOST
        assert max([sum(one[0] == network for one in waiting) for network in "abcdef"]) <= MOST_OF_ONE
