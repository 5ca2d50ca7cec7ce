"""Masks, filters and orders of sessions."""

from typing import Any

import pytest

from metrics import selection
from metrics.headline import GOOD, QUIET
from metrics.selection import TONES, Filter, SortOrder
from popular.proxy.session.phases import STATES
from popular.store.pserv.phases import STATES as STORE_STATES

ANN = {"row": 1, "user": "Ann", "client": "192.0.2.17", "port": 40001, "target": "ann", "sent": 5, "state": "ending"}
BOB = {"row": 2, "user": "bob", "client": "2001:db8:1:2::3", "port": 40002, "target": "", "sent": 30, "state": "ending"}
EVE = {"row": 3, "user": "", "client": "192.0.2.18", "port": 40003, "target": "", "sent": 5, "state": "starting TLS"}
ALL: list[dict[str, Any]] = [ANN, BOB, EVE]


def test_a_mask_leaves_nothing_that_tells_who_it_is() -> None:
    """The first letter of a name, the network of an address, no port; everything else stays."""
    assert selection.masked(ANN) == ANN | {"user": "A*", "client": "192.0.2.*", "port": 0, "target": "a*"}
    assert selection.masked(BOB) == BOB | {"user": "b*", "client": "2001:db8:1:*", "port": 0}
    assert selection.masked(EVE)["user"] == "", "nothing is no secret"


@pytest.mark.parametrize(
    ("address", "shown"),
    [("10.0.0.1", "10.0.0.*"), ("::1", ":*"), ("2001:db8::5", "2001:db8:*"), ("", ""), ("::ffff:192.0.2.1", ":*")],
)
def test_masked_addresses(address: str, shown: str) -> None:
    """An address keeps its network, at most: 24 bits, or 48."""
    assert selection.mask_address(address) == shown


def test_a_filter_sees_only_what_is_shown() -> None:
    """A masked name cannot be asked for letter by letter."""
    masked = [selection.masked(session) for session in ALL]
    assert selection.select(masked, [Filter.of("ann")], SortOrder()) == []
    assert selection.select(masked, [Filter.of("user=an")], SortOrder()) == []
    assert selection.select(masked, [Filter.of("192.0.2.17")], SortOrder()) == []
    assert [one["row"] for one in selection.select(masked, [Filter.of("192.0.2.")], SortOrder())] == [1, 3]


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ([], [1, 2, 3]),
        (["ANN"], [1]),
        (["user=b"], [2]),
        (["user="], [1, 2, 3]),
        (["sent=5"], [1, 3]),
        (["5"], []),
        (["state=ending", "sent=30"], [2]),
        ([" user = bob "], [2]),
        (["a=b=c"], None),
    ],
)
def test_filters(filters: list[str], rows: list[int] | None) -> None:
    """A text in a column, or in any column of texts; all filters must be true."""
    wanted = [Filter.of(words) for words in filters]
    if rows is None:
        assert wanted == [Filter("a", "b=c")]
    else:
        assert [one["row"] for one in selection.select(ALL, wanted, SortOrder())] == rows


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        (SortOrder("user"), [3, 1, 2]),
        (SortOrder("user", True), [2, 1, 3]),
        (SortOrder("sent"), [1, 3, 2]),
        (SortOrder("sent", True), [2, 1, 3]),
    ],
)
def test_orders(order: SortOrder, rows: list[int]) -> None:
    """Numbers by value, texts without regard to case, equals by row."""
    assert [one["row"] for one in selection.select(ALL, [], order)] == rows


def test_the_states_that_stand_out_exist() -> None:
    """Every phrase with a colour is a state of one of the programs."""
    assert set(TONES) <= {*STATES, *STORE_STATES}
    assert (selection.tone("passing mail on"), selection.tone("ending")) == (GOOD, QUIET)
