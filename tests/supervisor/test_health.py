"""How well each thing did in the last minute: the master's look at the counters, with a clock that the test turns."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from supervisor.master.health import STEP_SECONDS, HealthWatch
from supervisor.table import segment
from supervisor.table.affected import Affected
from supervisor.table.contents import DOWN, UP, Column, Health, RecordShape
from supervisor.table.distinct import REGISTERS
from supervisor.table.indexes import CounterIndexes
from supervisor.table.records import Records
from supervisor.table.segment import HealthReading, Segment, View
from tests.table import sample
from tests.table.test_distinct import digests

NOW = 1_800_000_000.0
FORMS = {"ident": "8s", "word": "12s", "since": "d", "why": "8s", "by": "8s"}
FOUND = RecordShape("found", "shop", tuple(Column(name, form, name) for name, form in FORMS.items()))
LAYOUT = replace(
    sample.layout(),
    healths=(Health(by="shop", good="calls", bad="faults", record="found"),),
    records=(FOUND,),
    affected=REGISTERS,
)


class Shops:
    """A table in which two workers count for shops, and the master who looks."""

    def __init__(self, table: Segment) -> None:
        self.table = table
        self.indexes = CounterIndexes(table)
        self.places: dict[str, dict[str, int]] = {}
        self.watch = HealthWatch(table)
        self.now = NOW
        for block in (1, 2):
            table.block(block)[sample.layout().process_cells.index("generation")] = block

    def configure(self, *idents: str) -> None:
        self.places = self.indexes.settle({"shop": dict.fromkeys(idents)})

    def count(self, ident: str, calls: int = 0, late: int = 0, wrong: int = 0, block: int = 1) -> None:
        cells, place = self.table.block(block), self.places["shop"][ident]
        cells[LAYOUT.counter_cells["calls"] + place] += calls
        cells[LAYOUT.counter_cells["faults"] + 2 * place] += late
        cells[LAYOUT.counter_cells["faults"] + 2 * place + 1] += wrong

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.watch.look(self.places, self.now)

    def seen(self) -> dict[str, HealthReading]:
        return {one.ident: one for one in View(self.table.map).healths()["shop"]}


@pytest.fixture
def shops() -> Iterator[Shops]:
    table = Segment.create(f"/popular-test-health-{os.getpid()}", LAYOUT)
    try:
        yield Shops(table)
    finally:
        segment.remove(table.name)


def test_the_last_minute_is_told(shops: Shops) -> None:
    """Over all processes; what was counted before the first look is the past's."""
    shops.configure("a", "b")
    shops.count("a", calls=100, late=100)
    shops.pass_by(1)
    shops.count("a", calls=3, late=1)
    shops.count("a", calls=2, wrong=2, block=2)
    shops.count("b", calls=7)
    shops.pass_by(1)
    assert shops.seen()["a"] == HealthReading("a", 5, 3, reason="wrong", failed=int(shops.now), since=int(shops.now))
    assert shops.seen()["b"] == HealthReading("b", 7, 0, reason="", failed=0, since=0)


def test_a_minute_later_it_is_forgotten(shops: Shops) -> None:
    """All but the last error and when it was. A failure counts for a minute, or a step less."""
    shops.configure("a")
    shops.pass_by(1)
    shops.count("a", calls=1, late=1)
    shops.pass_by(1)
    failed = int(shops.now)
    shops.pass_by(int(60 - STEP_SECONDS) - 1)
    assert shops.seen()["a"] == HealthReading("a", 1, 1, reason="late", failed=failed, since=failed)
    shops.pass_by(int(STEP_SECONDS) + 2)
    assert shops.seen()["a"] == HealthReading("a", 0, 0, reason="late", failed=failed, since=0)


def test_it_goes_on_since_the_first_failure(shops: Shops) -> None:
    """As long as they are less than a minute apart; the last reason is that of the most."""
    shops.configure("a")
    shops.pass_by(1)
    for _ in range(10):
        shops.count("a", calls=1, late=1)
        shops.pass_by(25)
    assert shops.seen()["a"].since == int(NOW) + 2
    assert shops.seen()["a"].bad == 2
    shops.count("a", late=1, wrong=5)
    shops.pass_by(1)
    assert (shops.seen()["a"].reason, shops.seen()["a"].failed) == ("wrong", int(shops.now))


def test_who_is_turned_away_by_that_hides_no_reason() -> None:
    """However many they are; where nothing else is known, they are the reason."""
    counters = (row._replace(labels=("late", DOWN)) if row.name == "faults" else row for row in LAYOUT.counters)
    table = Segment.create(f"/popular-test-health-{os.getpid()}", replace(LAYOUT, counters=tuple(counters)))
    try:
        shops = Shops(table)
        shops.configure("a")
        shops.pass_by(1)
        shops.count("a", wrong=9)
        shops.pass_by(1)
        assert shops.seen()["a"].reason == DOWN
        shops.count("a", late=1, wrong=9)
        shops.pass_by(1)
        shops.count("a", wrong=9)
        shops.pass_by(1)
        assert (shops.seen()["a"].reason, shops.seen()["a"].failed) == ("late", int(shops.now))
    finally:
        segment.remove(table.name)


def test_what_is_not_configured_is_not_told(shops: Shops) -> None:
    """Also where its place, its name and its numbers are kept; and whoever gets its place begins anew."""
    shops.configure("a", "b")
    shops.pass_by(1)
    shops.count("a", calls=1, late=5)
    shops.count("b", calls=1, late=1)
    shops.pass_by(1)
    shops.configure("b")
    shops.pass_by(1)
    assert list(shops.seen()) == ["b"]
    shops.configure("b", "c")
    shops.pass_by(1)
    assert shops.seen()["c"] == HealthReading("c", 0, 0, reason="", failed=0, since=0)
    shops.configure("b", "a")
    shops.pass_by(1)
    assert shops.seen()["a"].bad == 0, "five failures are from another time"


def affect(shops: Shops, ident: str, number: int) -> None:
    """So many customers are turned away."""
    affected, index = Affected(LAYOUT, shops.table.map, "shop"), shops.places["shop"][ident]
    for digest in digests(number):
        affected.note(index, digest)
    shops.count(ident, late=number)
    shops.pass_by(1)


def find(shops: Shops, ident: str, word: str) -> None:
    """Somebody has found out how it is."""
    columns = {"ident": ident, "word": word, "since": NOW, "why": "", "by": ""}
    Records(LAYOUT, shops.table.map, "found").write(shops.places["shop"][ident], columns)


def test_for_how_many_is_told_as_long_as_since_when(shops: Shops) -> None:
    """Who comes again counts once; when it is well again, they are forgotten, and not while it is found down."""
    shops.configure("a", "b")
    shops.pass_by(1)
    affect(shops, "a", 10)
    affect(shops, "a", 10)
    assert {ident: one.users for ident, one in shops.seen().items()} == {"a": 10, "b": 0}
    find(shops, "a", DOWN)
    shops.pass_by(70)
    assert (shops.seen()["a"].since, shops.seen()["a"].users) == (0, 10)
    find(shops, "a", UP)
    shops.pass_by(1)
    assert shops.seen()["a"].users == 0


def test_whoever_gets_the_place_of_another_affects_nobody(shops: Shops) -> None:
    """Though the one before was in trouble when it went."""
    shops.configure("a")
    shops.pass_by(1)
    affect(shops, "a", 10)
    shops.configure()
    shops.pass_by(1)
    shops.configure("a")
    shops.pass_by(1)
    assert shops.seen()["a"].users == 0
