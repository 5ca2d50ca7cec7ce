"""Orders that cannot be written: how many they are, and that it is tried again. Real files; time is turned by hand."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from supervisor.control.language.lookups import Job, Result, run
from supervisor.master.jobs import Jobs
from supervisor.master.keeping import AGAIN_SECONDS, StateKeeper
from supervisor.master.pool import Pool
from supervisor.operatorstate import OrderEntry, from_octets
from supervisor.runtime.loop import Loop
from supervisor.runtime.statedir import StateDirectory
from tests.supervisor.changing import QUIET, Clock

LOCK = OrderEntry("user lock", "default:joe", {"since": 1.0})
BLOCK = OrderEntry("block", "192.0.2.0/24", {"until": 1000.0})
NOW = 999.0


class Nobody:
    """A pool without workers, and jobs that are done at once, or when a test wants."""

    workers = ()
    held: list[Callable[[], None]] | None = None

    def tell_all(self, _message: object) -> None: ...

    def send(self, job: Job, done: Callable[[Result], None]) -> None:
        if self.held is None:
            done(run(job))
        else:
            self.held.append(lambda: done(run(job)))


class FullDisk(StateDirectory):
    """One on which there is room when a trace is gone, or less than a block."""

    def write(self, content: bytes, unless: Callable[[], bool] = lambda: False) -> bool:
        """Raises OSError."""
        trace = self.path / "traces/pproxy-1.trace"
        if trace.exists() and trace.stat().st_size > 4096:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content, unless)


class Place:
    """A state directory that can be made useless, and back, and who keeps orders in it."""

    def __init__(self, path: Path) -> None:
        self.state = path / "state"
        self.state.touch()
        self.traces = self.state / "traces"
        self.clock = Clock()
        self.is_older = False
        nobody = self.nobody = cast(Any, Nobody())
        self.keeper = StateKeeper(
            FullDisk(self.state, "pproxy"),
            cast(Loop, self.clock),
            QUIET,
            pool=cast(Pool, nobody),
            jobs=cast(Jobs, nobody),
            has_successor=lambda: self.is_older,
            returns=lambda: 0,
            took_up=lambda _changes, _said: None,
        )
        self.answers: list[tuple[bool, str]] = []

    def order(self, entry: OrderEntry, *, surely: bool = False) -> int:
        """Gives how many orders are not kept then."""
        self.keeper.change([entry], lambda done, note: self.answers.append((done, note)), surely=surely)
        return self.keeper.count_not_kept(NOW)

    def repair(self) -> None:
        self.state.unlink()
        self.state.mkdir(0o700)

    def kept(self) -> list[OrderEntry]:
        return from_octets((self.state / "pproxy.operator.json").read_bytes())


def test_what_cannot_be_written_is_counted_and_tried_again(tmp_path: Path) -> None:
    """Each order once, those that are over by now no more; when it can be written all of it is."""
    place = Place(tmp_path)
    assert [place.order(LOCK), place.order(BLOCK), place.order(LOCK)] == [1, 2, 2]
    assert {done for done, _note in place.answers} == {True}
    assert place.keeper.count_not_kept(1000.0) == 1
    assert place.clock.turn()
    assert (place.clock.now, place.keeper.count_not_kept(NOW)) == (AGAIN_SECONDS, 2)
    place.repair()
    assert place.clock.turn()
    assert (place.kept()[0], place.keeper.count_not_kept(NOW)) == (LOCK, 0)
    assert not place.clock.turn(), "nothing is left to be tried"


def test_the_end_of_an_order_is_to_be_kept_too(tmp_path: Path) -> None:
    """What is written with the next order is not tried again."""
    place = Place(tmp_path)
    place.order(LOCK)
    assert place.order(LOCK._replace(value=None)) == 1
    place.repair()
    assert place.order(OrderEntry("block", "192.0.2.1", {})) == 0
    (place.state / "pproxy.operator.json").unlink()
    assert place.clock.turn()
    assert [*place.state.iterdir()] == []
    assert not place.clock.turn()


def test_what_was_refused_is_not_missing(tmp_path: Path) -> None:
    """It is not in force; and what a newer instance keeps is not ours to keep."""
    place = Place(tmp_path)
    assert place.order(LOCK, surely=True) == 0
    assert not place.clock.turn()
    assert place.order(LOCK) == 1
    place.is_older = True
    assert place.clock.turn()
    assert place.keeper.count_not_kept(NOW) == 0


@pytest.mark.parametrize("fails", [True, False])
def test_what_is_ordered_while_others_come_into_force_waits_for_them(tmp_path: Path, fails: bool) -> None:
    """A move that cannot be kept is given up, by an order of its own; the file has what was ordered beside it too."""
    place = Place(tmp_path)
    if not fails:
        place.repair()
    jobs: list[Callable[[], None]] = []
    place.nobody.held = jobs
    first = OrderEntry("user hold", "default:ann", {})

    def given_up(_done: bool, _why: str) -> None:
        if fails:
            place.repair()
        place.keeper.change([OrderEntry("user hold", "default:bob", {})], lambda *_answer: None)

    place.order(first)
    place.keeper.change([OrderEntry("move", "m", {})], given_up, surely=True)
    place.order(LOCK)
    while jobs:
        jobs.pop(0)()
    assert LOCK in place.kept()
    assert place.keeper.count_not_kept(NOW) == 0


def test_a_trace_at_work_is_cut_and_not_removed(tmp_path: Path) -> None:
    """To make room for what is ordered; its second line says how many octets are missing."""
    place = Place(tmp_path)
    place.repair()
    place.traces.mkdir()
    (trace := place.traces / "pproxy-1.trace").write_bytes(b"head\n" + b"a line\n" * 1000)
    (place.traces / "pproxy-2.trace").touch()
    assert place.order(OrderEntry("trace", "1", {"file": str(trace)})) == 0
    assert trace.read_text().split("\n")[1].startswith("- +0.000000 -- 7,000 octets are missing here: ")
