"""What the operator has made of each backend, as the table tells it to who has nothing else."""

import os
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest

from metrics.servers import servers_in_table, servers_told
from popular.proxy.program import PROGRAM
from popular.proxy.settings.standing import STANDING, VSERV_STANDING, told
from supervisor.config import Config
from supervisor.exporterline import OrdersTold
from supervisor.master.accounting import table_layout
from supervisor.master.standing import AGAIN_SECONDS, StandingBoard
from supervisor.master.watchers import OrderCount, told_of
from supervisor.operatorstate import OperatorState, OrderEntry
from supervisor.table import segment
from supervisor.table.indexes import CounterIndexes
from supervisor.table.segment import Segment, View
from tests.proxy.session_rules import backend

LAYOUT = table_layout(PROGRAM, 3, {"sessionlimit": 10, **PROGRAM.ceilings})


@pytest.fixture
def table() -> Iterator[Segment]:
    made = Segment.create(f"/popular-test-standing-{os.getpid()}", LAYOUT)
    try:
        yield made
    finally:
        segment.remove(made.name)


def config(table: Segment, generation: int, *idents: str, **words: str) -> Config:
    things = {"backend": {one: _named(one, **words) for one in idents}, "vserv": {}}
    indexes = CounterIndexes(table).settle({sort: dict.fromkeys(ids) for sort, ids in things.items()})
    return Config(generation, {}, things=things, counter_indexes=indexes)


def _named(ident: str, **words: str) -> object:
    return replace(backend("pop").with_parameters(words), id=ident)


ORDERS = [
    OrderEntry("backend drain", "b1", {"since": 1.7e9}),
    OrderEntry("user route", "n:joe", {"from": "b1", "to": "b2"}),
    OrderEntry("user route", "n:ann", {"from": "b1", "to": "b3"}),
    OrderEntry("trace", "1", {"of": "backend", "name": "b2"}),
    OrderEntry("trace", "2", {"of": "user", "name": "b2"}),
    OrderEntry("user hold", "b1", {"since": 1.7e9}),
]


def test_orders_are_told_of_those_whom_they_are_about(table: Segment) -> None:
    """Drain, users who come and go, traces; an order of another sort with the same name is none of it."""
    found = told(config(table, 1, "b1", "b2"), ORDERS)
    assert found["b1"] == {"state": "online", "drained": 1.7e9, "moved_here": 0, "moved_away": 2, "traces": 0}
    assert found["b2"] == {"state": "online", "drained": 0.0, "moved_here": 1, "moved_away": 0, "traces": 1}


@pytest.mark.parametrize("value", [None, {}, {"since": "soon"}, {"since": -5}, {"since": [1]}, {"since": 10**400}])
def test_what_people_have_written_into_the_file_is_still_a_drain(table: Segment, value: dict[str, object]) -> None:
    """It is in force; only since when is not known."""
    assert told(config(table, 1, "b1"), [OrderEntry("backend drain", "b1", value)])["b1"]["drained"] == 1.0


@pytest.mark.parametrize("since", ["soon", -5, [1], pytest.param(10**400, id="huge"), float("nan"), float("inf")])
def test_watchers_are_told_of_an_order_whose_beginning_nobody_knows(since: object) -> None:
    """The master counts all orders each second, whatever stands in the file."""
    orders = [OrderEntry("user hold", "n:joe", {"since": since}), OrderEntry("user hold", "n:ann", {"since": 5.0})]
    assert told_of(orders) == (OrdersTold("user hold", 2, 5.0),)


def test_orders_are_not_counted_each_second() -> None:
    """But when one is given or ended, and after a while: they end by themselves. Of a hundred thousand the master would
    do nothing else for a fifth of each second.
    """
    counted = []

    class Operator(OperatorState):
        def entries(self, now: float) -> list[OrderEntry]:
            counted.append(now)
            return super().entries(now)

    operator = Operator()
    count = OrderCount(operator)
    assert count.told(0.0) == count.told(1.0) == ()
    operator.change([OrderEntry("user hold", "n:joe", {"since": 5.0})])
    assert count.told(2.0) == count.told(3.0) == (OrdersTold("user hold", 1, 5.0),)
    assert len(counted) == 2
    count.told(2.0 + AGAIN_SECONDS)
    assert len(counted) == 3


def test_the_table_follows_configuration_and_orders(table: Segment) -> None:
    """At once what is said, and within a few seconds what ends by itself; nothing is written twice."""
    board, view, operator = StandingBoard(table, (STANDING,)), View(table.map), OperatorState()

    def seen() -> dict[str, object]:
        return {ident: (row["state"], row["drained"]) for ident, row in view.records("standing").items()}

    first = config(table, 1, "b1", "b2")
    board.look(first, operator, 0.0)
    assert seen() == {"b1": ("online", 0.0), "b2": ("online", 0.0)}
    operator.change([OrderEntry("backend drain", "b2", {"since": 5.0})])
    board.look(first, operator, 1.0)
    assert seen()["b2"] == ("online", 5.0)
    before = bytes(table.map)
    board.look(first, operator, 1.0 + AGAIN_SECONDS)
    assert bytes(table.map) == before
    operator.change([OrderEntry("backend drain", "b1", {"since": 6.0, "until": 1.0})])
    board.look(config(table, 2, "b1", "b2", state="fake"), operator, 2.0 + AGAIN_SECONDS)
    assert seen() == {"b1": ("fake", 0.0), "b2": ("fake", 5.0)}


def test_a_drained_virtual_server_is_not_online(table: Segment) -> None:
    """To who has the table only, and to who knows the configuration; what was removed is forgotten, though it keeps its
    index, and so its name.
    """
    board, view, operator = StandingBoard(table, (VSERV_STANDING,)), View(table.map), OperatorState()
    facts = {"vservs": [{"id": "v1", "state": "online"}, {"id": "v2", "state": "offline"}]}
    places = CounterIndexes(table).settle({"vserv": {"v1": None, "v2": None}})["vserv"]

    def look(generation: int, **states: str) -> tuple[str, ...]:
        vservs = {ident: SimpleNamespace(id=ident, state=state) for ident, state in states.items()}
        indexes = {"vserv": {ident: places[ident] for ident in states}}
        board.look(Config(generation, {}, things={"vserv": vservs}, counter_indexes=indexes), operator, 0.0)
        found = servers_in_table(view)
        assert found is not None
        return found.states

    assert look(1, v1="online", v2="offline") == ("online", "offline")
    operator.change([OrderEntry("vserv drain", "v1", {"since": 5.0})])
    assert look(2, v1="online", v2="offline") == ("drained", "offline")
    told_too = servers_told(view, facts, PROGRAM.watched.servers)
    assert told_too is not None
    assert told_too.states == ("drained", "offline")
    assert told_too.are_closed
    assert look(3, v2="offline") == ("offline",)
