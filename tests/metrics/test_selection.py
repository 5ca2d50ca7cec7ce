"""Masks, filters and orders of sessions."""

from typing import Any

import pytest

from metrics import selection
from metrics.headline import GOOD, QUIET
from metrics.selection import Filter, SortOrder
from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.master.accounting import table_layout

ANN = {"row": 1, "user": "Ann", "client": "192.0.2.17", "port": 40001, "target": "ann", "sent": 5, "state": "ending"}
BOB = {"row": 2, "user": "bob", "client": "2001:db8:1:2::3", "port": 40002, "target": "", "sent": 30, "state": "ending"}
EVE = {"row": 3, "user": "", "client": "192.0.2.18", "port": 40003, "target": "", "sent": 5, "state": "starting TLS"}
ALL: list[dict[str, Any]] = [ANN, BOB, EVE]
LAYOUT = table_layout(PPROXY, 2, {"sessionlimit": 1})
MASKS = selection.masks(LAYOUT)


def test_a_mask_leaves_nothing_that_tells_who_it_is() -> None:
    """The first letter of a name, the network of an address, no port; everything else stays."""
    assert selection.masked(ANN, MASKS) == ANN | {"user": "A*", "client": "192.0.2.*", "port": 0, "target": "a*"}
    assert selection.masked(BOB, MASKS) == BOB | {"user": "b*", "client": "2001:db8:1:*", "port": 0}
    assert selection.masked(EVE, MASKS)["user"] == "", "nothing is no secret"


@pytest.mark.parametrize(
    ("address", "shown"),
    [("10.0.0.1", "10.0.0.*"), ("::1", ":*"), ("2001:db8::5", "2001:db8:*"), ("", ""), ("::ffff:192.0.2.1", ":*")],
)
def test_masked_addresses(address: str, shown: str) -> None:
    """An address keeps its network, at most: 24 bits, or 48."""
    assert selection.mask_address(address) == shown


def test_a_filter_sees_only_what_is_shown() -> None:
    """A masked name cannot be asked for letter by letter."""
    masked = [selection.masked(session, MASKS) for session in ALL]
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
    for program in (PPROXY, PSERV):
        assert set(program.watched.tones) <= set(program.states)
    assert (selection.tone("passing mail on", LAYOUT), selection.tone("ending", LAYOUT)) == (GOOD, QUIET)


def test_every_column_that_tells_about_a_person_has_a_mask() -> None:
    """Both programs have them: names, addresses and ports."""
    masks = {
        program.name: {column.name: column.mask for column in program.columns if column.mask}
        for program in (PPROXY, PSERV)
    }
    assert masks == {
        "pproxy": {"client": "address", "port": "number", "user": "name", "target": "name"},
        "pserv": {"client": "address", "port": "number", "mailbox": "name"},
    }
