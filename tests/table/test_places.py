"""Counters by thing: who has which place, what a new owner begins with, and that no sum ever falls."""

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from supervisor.serving.counters import Counters
from supervisor.table.contents import BASE_CELLS
from supervisor.table.indexes import CounterIndexes
from supervisor.table.names import read_names
from supervisor.table.segment import Reading, Segment, View, path_of, remove
from tests.table import sample

NAME = f"/popular-test-places-{os.getpid()}"
GENERATION = BASE_CELLS.index("generation")


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A table with two places for shops, and one for those that find none; blocks 1 and 2 were used."""
    made = Segment.create(NAME, sample.layout())
    for block in (1, 2):
        made.block(block)[GENERATION] = block
    yield made
    remove(NAME)


@pytest.fixture
def book(segment: Segment) -> CounterIndexes:
    return CounterIndexes(segment)


def things(*shops: str) -> dict[str, dict[str, object]]:
    return {"shop": dict.fromkeys(shops), "street": {"ignored": None}}


def counters(segment: Segment, book: CounterIndexes, *shops: str, block: int = 1) -> Counters:
    return Counters(segment.layout, segment.block(block), book.settle(things(*shops)))


def calls(segment: Segment) -> dict[str, int]:
    """The calls of each shop, as a reader sees them."""
    return {ident: numbers[0] for ident, numbers in View.open(path_of(segment.name)).readings()["calls"]}


def test_a_counter_is_there_at_0_as_soon_as_its_thing_is_configured(segment: Segment, book: CounterIndexes) -> None:
    """So that the first event is seen as an increase."""
    book.settle(things("a", "b"))

    readings = View.open(path_of(segment.name)).readings()
    assert readings["calls"] == [Reading("a", [0]), Reading("b", [0])]
    assert readings["faults"] == [Reading("a", [0, 0]), Reading("b", [0, 0])]
    assert readings["begun"] == [Reading("", [0])], "what is not kept by a sort has one number and no name"


def test_each_thing_counts_for_itself(segment: Segment, book: CounterIndexes) -> None:
    """Counters, labels and processes do not mix; the sum over all things is what `counters` tells."""
    one, two = counters(segment, book, "a", "b"), counters(segment, book, "a", "b", block=2)
    one.count("calls", None, "a")
    two.count("calls", None, "a", amount=4)
    two.count("calls", None, "b", amount=2)
    one.count("faults", "wrong", "b")
    one.count("begun")

    view = View.open(path_of(segment.name))
    assert calls(segment) == {"a": 5, "b": 2}
    assert view.readings()["faults"] == [Reading("a", [0, 0]), Reading("b", [0, 1])]
    assert view.counters() == {
        "begun": 1,
        "ended": {"quit": 0, "worker_died": 0},
        "calls": 7,
        "faults": {"late": 0, "wrong": 1},
    }


def test_a_histogram_counts_into_the_bucket_that_ends_there(segment: Segment, book: CounterIndexes) -> None:
    """A bound belongs to its bucket (le: less or equal); the sum is in microseconds."""
    counted = counters(segment, book, "a")
    for microseconds in (0, 999, 1000, 1001, 2000, 2001, 5_000_000):
        counted.observe("work", microseconds / 1e6, "a")

    (reading,) = View.open(path_of(segment.name)).readings()["work"]
    assert reading == Reading("a", [3, 2, 2, 999 + 1000 + 1001 + 2000 + 2001 + 5_000_000])


def test_the_counter_of_what_a_histogram_times_counts_each(segment: Segment, book: CounterIndexes) -> None:
    """It is the counter of the same shop, whichever way it is observed; no other histogram counts anything else."""
    layout = replace(segment.layout, event_counters={"work": "calls"})
    counted = Counters(layout, segment.block(1), book.settle(things("a", "b")))
    counted.observer("work", "a").observe(0.001)
    counted.observe("work", 3.0, "a")
    counted.observe("wait", 1.0)

    assert calls(segment) == {"a": 2, "b": 0}
    assert View.open(path_of(segment.name)).counters()["begun"] == 0


def test_a_thing_that_comes_back_has_its_numbers_again(segment: Segment, book: CounterIndexes) -> None:
    """Removed and made anew, as `vserv del` and `vserv conf` do: its series goes on."""
    counters(segment, book, "a", "b").count("calls", None, "a", amount=7)
    book.settle(things("b"))
    assert calls(segment) == {"a": 7, "b": 0}, "a removed thing is still shown: it may have sessions"

    counters(segment, book, "b", "a").count("calls", None, "a")
    assert calls(segment) == {"a": 8, "b": 0}


def test_a_thing_that_never_counted_leaves_no_trace(segment: Segment, book: CounterIndexes) -> None:
    """A configuration that was taken back has made no series."""
    book.settle(things("a"))
    book.settle(things())

    assert calls(segment) == {}


def test_what_is_only_tried_takes_nobodys_place(segment: Segment, book: CounterIndexes) -> None:
    """Workers count under the running configuration while another one is tried. When that is taken back, everything
    still counts under its own name, also what had counted nothing before, and in whatever order it stands.
    """
    book.settle(things("b"))
    running = book.settle(things("a", "b"))
    counted = Counters(segment.layout, segment.block(1), running)
    book.settle(things("c", "d"), running=things("a", "b"))
    counted.count("calls", None, "a", amount=7)

    assert book.settle(things("a", "b")) == running
    assert calls(segment) == {"a": 7, "b": 0}


def test_the_place_of_the_one_that_went_first_is_reused_and_begins_at_0(segment: Segment, book: CounterIndexes) -> None:
    """Only when no unused place is left; the old numbers stay in the sums."""
    counted = counters(segment, book, "a", "b")
    counted.count("calls", None, "a", amount=7)
    counted.count("calls", None, "b", amount=5)
    counted.observe("work", 1.0, "b")
    book.settle(things("a"))
    book.settle(things())

    fresh = counters(segment, book, "c")
    assert calls(segment) == {"a": 7, "c": 0}
    fresh.count("calls", None, "c", amount=2)
    fresh.observe("work", 0.0, "c")
    assert calls(segment) == {"a": 7, "c": 2}
    assert Reading("c", [1, 0, 0, 0]) in View.open(path_of(segment.name)).readings()["work"]
    assert View.open(path_of(segment.name)).counters()["calls"] == 14


def test_who_finds_no_place_counts_without_a_name(segment: Segment, book: CounterIndexes) -> None:
    """More things than places: nothing is lost from the sum, and nobody else gets the numbers."""
    counted = counters(segment, book, "a", "b", "c")
    for shop in ("a", "b", "c", "never heard of"):
        counted.count("calls", None, shop)

    assert calls(segment) == {"a": 1, "b": 1}
    assert View.open(path_of(segment.name)).counters()["calls"] == 4


def test_a_name_keeps_its_whole_length(segment: Segment, book: CounterIndexes) -> None:
    """An id has up to 64 characters."""
    book.settle(things("x" * 64, "y"))

    assert [name.ident for name in read_names(segment.layout, segment.map)["shop"]] == ["x" * 64, "y", ""]


def test_any_history_of_changes_keeps_the_accounts(segment: Segment, book: CounterIndexes) -> None:
    """Things come and go at random while old sessions count on: sums never fall, what lives is shown at its number,
    and no place has two owners.
    """
    dice, total, before = random.Random(5), 0, 0
    truth: dict[str, int] = {}
    for _ in range(300):
        chosen = dice.sample("abcde", dice.randrange(3))
        places = book.settle(things(*chosen))["shop"]
        assert len(set(places.values())) == len(places) == len(chosen)
        shown = calls(segment)
        truth = {shop: number for shop, number in truth.items() if shop in shown}
        for shop in chosen:
            truth.setdefault(shop, 0)
            assert shown[shop] == truth[shop]
        counted = Counters(segment.layout, segment.block(dice.choice((1, 2))), {"shop": places})
        for shop in chosen:
            amount = dice.randrange(3)
            counted.count("calls", None, shop, amount=amount)
            truth[shop] += amount
            total += amount
        now = View.open(path_of(segment.name)).counters()["calls"]
        assert isinstance(now, int)
        assert now == total >= before
        before = now


@pytest.mark.processes
def test_a_name_is_never_seen_in_halves_even_if_its_writer_is_killed(segment: Segment, book: CounterIndexes) -> None:
    """A child that renames without end is killed at a random moment: the reader sees one of the names, whole."""
    names = ["a" * 60, "b" * 60]
    book.settle(things(names[0]))
    for _ in range(20):
        child = os.fork()
        if child == 0:
            while True:
                for name in names:
                    book._name("shop", 0, name)
        seen = {read_names(segment.layout, segment.map)["shop"][0].ident for _ in range(300)}
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert seen <= set(names)
        assert read_names(segment.layout, segment.map)["shop"][0].ident in names


@pytest.mark.processes
def test_an_observer_that_is_killed_leaves_whole_numbers(segment: Segment, book: CounterIndexes) -> None:
    """Whatever moment a worker dies in, the count is the sum of the buckets, and the successor counts on."""
    counted = counters(segment, book, "a")
    before = 0
    for _ in range(20):
        child = os.fork()
        if child == 0:
            while True:
                counted.observe("work", 0.001, "a")
        while View.open(path_of(segment.name)).readings()["work"][0].numbers[0] <= before:
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reading = View.open(path_of(segment.name)).readings()["work"][0].numbers
        assert reading[0] > before
        assert reading[1:3] == [0, 0]
        assert 0 <= 1000 * reading[0] - reading[3] <= 1000 * 20, "each death may cost the sum one observation"
        before = reading[0]


def test_a_tally_counts_what_the_rows_say(segment: Segment) -> None:
    """The quick count and the slow listing agree, whichever cells are the newer ones."""
    dice = random.Random(7)
    for _ in range(400):
        row, state = dice.randrange(4), dice.randrange(3)
        segment.rows.write(
            row,
            state=state,
            pid=77,
            started=1.0,
            since=2.0,
            sid=f"sid {dice.randrange(2)}".encode(),
            octets=5,
            port=dice.randrange(2),
        )
        view = View.open(path_of(segment.name))
        listed = [(session["port"], session["state"], session["sid"]) for session in view.sessions()]
        tally = view.tally(("port", "state", "sid"))
        assert sorted(tally.elements()) == sorted(listed)
        assert sum(view.tally(("sid",)).values()) == len(listed)


def test_a_tally_takes_the_draft_of_a_torn_row(segment: Segment) -> None:
    """A row was being written when its writer died: its draft counts."""
    segment.rows.write(0, state=1, pid=77, started=1.0, since=2.0, sid=b"old", octets=0, port=0)
    segment.rows.write(0, state=2, pid=77, started=1.0, since=2.0, sid=b"new", octets=0, port=0)
    newer = bytes(segment.map).index(b"new")
    segment.map[newer : newer + 3] = b"ne\0"

    assert segment.reader.tally(("sid", "state")) == {("new", 2): 1}
