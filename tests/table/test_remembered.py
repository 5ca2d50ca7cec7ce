"""What all workers remember together: bounded, exact in what it counts, whatever a worker dies of."""

import fcntl
import math
import mmap
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from popular.proxy.program import PROGRAM
from supervisor.master.accounting import table_layout
from supervisor.table.remembered import BLANK, BUCKET_ENTRIES, HALF_LIFE, HOLDS, Entry, Geometry, Remembered
from supervisor.table.segment import memory_octets
from tests.patience import patient, within

ROWS = 40
KEY = b"k" * 32


def made(rows: int = ROWS, locks: int | None = None) -> Remembered:
    """One in memory of its own, which forked processes share."""
    geometry = Geometry.of(rows)
    descriptor = os.memfd_create("locks") if locks is None else locks
    return Remembered(memoryview(mmap.mmap(-1, geometry.size)), geometry, locks=descriptor, key=KEY)


@pytest.fixture
def remembered() -> Iterator[Remembered]:
    locks = os.memfd_create("locks")
    yield made(locks=locks)
    os.close(locks)


def taken(entry: Entry) -> tuple[Entry, bool]:
    """One session more."""
    return entry._replace(held=entry.held + 1), True


def left(entry: Entry) -> tuple[Entry, bool]:
    """One session less."""
    return entry._replace(held=entry.held - 1), True


def scored(score: float, at: float, entry: Entry) -> tuple[Entry, float]:
    return entry._replace(score=score, at=at), entry.score


def test_what_is_remembered_is_what_was_changed(remembered: Remembered) -> None:
    """All of an entry comes back, and nothing of it is anybody else's."""
    entry = Entry(0, 2.5, 10.0, until=20.0, due=30.5, recent=(1, 2, 3, 4))
    joe, ann = remembered.digest("user", "a", "joe"), remembered.digest("user", "a", "ann")

    assert remembered.change(joe, lambda before: (entry, before)) == BLANK
    assert (remembered.look(joe), remembered.look(ann)) == (entry, BLANK)


def test_names_cannot_be_put_together_otherwise(remembered: Remembered) -> None:
    """Sort and names are told apart, and another run has other digests."""
    digests = {
        remembered.digest("user", "a", "b"),
        remembered.digest("user", "ab"),
        remembered.digest("network", "a", "b"),
        remembered.digest("user", "\udcff"),
    }
    assert len(digests) == 4
    other = Remembered(memoryview(bytearray(Geometry.of(1).size)), Geometry.of(1), locks=-1, key=b"other")
    assert other.digest("user", "a", "b") not in digests


def test_a_score_halves_and_fades() -> None:
    """After a half-life it is half of it; below a half it is as good as none."""
    entry = Entry(score=8.0, at=100.0)

    assert entry.weight(100.0 + HALF_LIFE) == pytest.approx(4.0)
    assert entry.fades() == pytest.approx(100.0 + 4 * HALF_LIFE)
    assert entry.weight(entry.fades()) == pytest.approx(0.5)
    assert Entry(held=1).fades() == math.inf
    assert Entry(until=7.0, due=9.0).fades() == 9.0


@pytest.mark.parametrize("networks", [5_000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_many_networks_take_no_more_memory(remembered: Remembered, networks: int) -> None:
    """The table is full, and no larger; who counts sessions and who has failed most of late are still remembered."""
    guest, guesser = remembered.digest("user", "guest"), remembered.digest("network", "guesser")
    remembered.change(guest, taken, hold=(3, 0))
    remembered.change(guesser, partial(scored, 40.0, 50.0))
    for number in range(networks):
        remembered.change(remembered.digest("network", str(number)), partial(scored, 1.0, 50.0 + number / 1e6))

    assert remembered.look(guest).held == 1
    assert remembered.look(guesser).score == 40.0
    known = [number for number in range(networks) if remembered.look(remembered.digest("network", str(number))).score]
    entries = Geometry.of(ROWS).buckets * BUCKET_ENTRIES
    assert 0.9 * entries < len(known) <= entries - 2


def test_it_is_as_large_as_was_said() -> None:
    """For 10,000 sessions 8 MiB, and for a few it is small."""
    assert Geometry.of(10_000).size < 9 << 20
    assert Geometry.of(1).size < 100_000
    layout = table_layout(PROGRAM, 65, {"sessionlimit": 10_000, **PROGRAM.ceilings})
    assert layout.memory == memory_octets(10_000) < 10 << 20


def test_a_bucket_full_of_sessions_takes_no_more(remembered: Remembered) -> None:
    """Whoever comes then is let in and not counted: nobody is turned away for want of a place, and no hold says
    otherwise.
    """
    buckets = Geometry.of(ROWS).buckets
    digests = [buckets * (number + 1) for number in range(BUCKET_ENTRIES + 1)]
    for row, digest in enumerate(digests):
        assert remembered.change(digest, taken, hold=(row, 0))

    assert [remembered.look(digest).held for digest in digests] == [1] * BUCKET_ENTRIES + [0]
    assert remembered.held(BUCKET_ENTRIES) == [0] * HOLDS


@pytest.mark.processes
def test_whoever_holds_a_lock_for_long_is_not_waited_for(remembered: Remembered) -> None:
    """A worker that is stopped in the middle holds nobody up: who is asked for passes for unknown for so long."""
    digest = remembered.digest("user", "joe")
    remembered.change(digest, partial(scored, 3.0, 1.0))
    ready, done = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")

    def hold() -> None:
        fcntl.lockf(remembered._locks, fcntl.LOCK_EX)
        done.send("locked")
        time.sleep(patient(30))

    holder = context.Process(target=hold, daemon=True)
    holder.start()
    try:
        assert ready.recv() == "locked"
        with within(0.05):
            assert remembered.change(digest, partial(scored, 9.0, 1.0)) == 0.0
        assert remembered.look(digest).score == 3.0
    finally:
        holder.kill()
        holder.join()
    assert remembered.change(digest, partial(scored, 9.0, 1.0)) == 3.0, "the kernel has freed the lock"


USERS = ("ann", "bob", "joe")


def _serve(remembered: Remembered, rows: range) -> None:
    """A worker: its sessions come and go."""
    while True:
        for row in rows:
            for which, name in enumerate((USERS[row % len(USERS)], "network")):
                remembered.change(remembered.digest("user", name), taken, hold=(row, which))
        for row in rows[:-1]:
            for which, digest in enumerate(remembered.held(row)):
                if digest:
                    remembered.change(digest, left, hold=(row, which))
        for which, digest in enumerate(remembered.held(rows[-1])):
            if digest:
                remembered.change(digest, left, hold=(rows[-1], which))


@pytest.mark.processes
def test_nothing_is_lost_with_workers_that_are_killed(remembered: Remembered) -> None:
    """Sixty workers die in the middle of whatever they do, beside one that lives: what they held is given back,
    what he holds stays, and at the end all counts are those of the holds.
    """
    context = multiprocessing.get_context("fork")
    steady = {row: remembered.digest("user", USERS[row % len(USERS)]) for row in range(30, 36)}
    for row, digest in steady.items():
        remembered.change(digest, taken, hold=(row, 0))
    for number in range(60):
        worker = context.Process(target=_serve, args=(remembered, range(8)), daemon=True)
        worker.start()
        time.sleep(0.0005 + (number % 20) * 0.0004)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        remembered.give_back(range(8))
        expected = Counter(steady.values())
        for name in (*USERS, "network"):
            digest = remembered.digest("user", name)
            assert remembered.look(digest).held == expected[digest], (number, name)
    assert [remembered.held(row) for row in range(8)] == [[0] * HOLDS] * 8


class Model(RuleBasedStateMachine):
    """Sessions of a few users come, go, and die with their worker; the counts are always those of the living."""

    def __init__(self) -> None:
        super().__init__()
        self.locks = os.memfd_create("locks")
        self.remembered = made(8, self.locks)
        self.sessions: dict[int, tuple[int, ...]] = {}
        self.scores: dict[int, float] = {}

    @rule(row=st.integers(0, 7), names=st.lists(st.sampled_from(USERS), min_size=1, max_size=HOLDS))
    def comes(self, row: int, names: list[str]) -> None:
        if row in self.sessions:
            return
        digests = tuple(self.remembered.digest("user", name) for name in names)
        for which, digest in enumerate(digests):
            self.remembered.change(digest, taken, hold=(row, which))
        self.sessions[row] = digests

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def goes(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(sorted(self.sessions)))
        for which, digest in enumerate(self.remembered.held(row)):
            if digest:
                self.remembered.change(digest, left, hold=(row, which))
        del self.sessions[row]

    @rule(rows=st.sets(st.integers(0, 7)))
    def die(self, rows: set[int]) -> None:
        self.remembered.give_back(rows)
        for row in rows:
            self.sessions.pop(row, None)

    @rule(name=st.sampled_from(USERS), score=st.floats(0.0, 9.0))
    def fails(self, name: str, score: float) -> None:
        digest = self.remembered.digest("user", name)
        self.remembered.change(digest, partial(scored, score, 0.0))
        self.scores[digest] = score

    @invariant()
    def counts_are_those_of_the_living(self) -> None:
        expected = Counter(digest for digests in self.sessions.values() for digest in digests)
        for name in USERS:
            digest = self.remembered.digest("user", name)
            entry = self.remembered.look(digest)
            assert (entry.held, entry.score) == (expected[digest], self.scores.get(digest, 0.0))

    def teardown(self) -> None:
        os.close(self.locks)


def test_counts_are_exact() -> None:
    """However sessions come, go and die."""
    run_state_machine_as_test(Model, settings=settings(deadline=None, max_examples=25, stateful_step_count=20))
