"""Who makes room, and for how many: the choice, and how workers agree on it by what stands in their blocks."""

from collections import deque
from typing import Any

import pytest

from supervisor.serving.session import CutCost, Whose
from supervisor.table.contents import BASE_CELLS
from supervisor.worker.displacer import SILENT_SECONDS, STUCK_SECONDS, Displacer, chosen, groups_of
from tests.table import sample

NOW = 1000.0
HEARTBEAT, WAITING, DISPLACEABLE = map(BASE_CELLS.index, ("heartbeat_ns", "waiting", "displaceable"))
LONG_AGO = NOW - SILENT_SECONDS - 1


class Silent:
    """A session, as far as it is looked at."""

    def __init__(self, sid: str, address: str, heard: float = LONG_AGO, logged_in: bool = False) -> None:
        self.sid = sid
        self._found = None if logged_in else (address, heard)
        self.ending = ""

    def displaceable(self) -> tuple[str, float] | None:
        return self._found

    def end(self, ending: str) -> None:
        self.ending = ending

    def whose(self) -> Whose:
        return Whose(0.0, "192.0.2.1", ())

    def cut_cost(self) -> CutCost:
        return CutCost.NOT_LOGGED_IN

    def refresh(self) -> None:
        """Nothing is shown."""

    def fault(self, error: Exception) -> None:
        """There is none."""


def sids(sessions: Any) -> list[str]:
    return [session.sid for session in sessions]


def test_who_may_be_ended_at_all() -> None:
    """Not who has logged in or waits for something else, nor who was heard of late; a /64 counts as one."""
    sessions = [
        Silent("1", "192.0.2.1"),
        Silent("2", "192.0.2.1", logged_in=True),
        Silent("3", "192.0.2.1", heard=NOW - SILENT_SECONDS + 0.1),
        Silent("4", "2001:db8::1"),
        Silent("5", "2001:db8::2"),
        Silent("6", "2001:db8:0:1::1"),
    ]
    groups = groups_of(sessions, NOW - SILENT_SECONDS)
    assert [sids(group) for group in groups.values()] == [["1"], ["4", "5"], ["6"]]


def test_the_oldest_of_whoever_has_most() -> None:
    """Each time anew: two that have as many share what is taken. Who has one goes last."""
    letters = ("a1", "b1", "b2", "c1", "c2", "b3", "c3")
    groups = {name: deque(Silent(sid, name) for sid in letters if sid[0] == name) for name in "abc"}
    assert sids(chosen(groups, 3)) == ["b1", "c1", "b2"]  # type: ignore[arg-type]
    assert sids(chosen(groups, 99)) == ["c2", "a1", "b3", "c3"]  # type: ignore[arg-type]
    assert groups == {}


class Clock:
    now = NOW


class Context:
    """A worker's hold on a table that several share."""

    def __init__(self, blocks: list[memoryview], block: int, sessions: list[Silent]) -> None:
        self.block = block
        self.cells = blocks[block]
        self.clock = Clock()
        self.sessions = dict(enumerate(sessions))
        self._blocks = blocks

    def each(self, cell: int) -> list[int]:
        return [block[cell] for block in self._blocks]

    def sum(self, cell: int) -> int:
        return sum(self.each(cell))


@pytest.fixture
def blocks() -> list[memoryview]:
    size = sample.layout().block_size
    return [memoryview(bytearray(size)).cast("Q") for _ in range(3)]


def workers(blocks: list[memoryview], *sessions: list[Silent]) -> list[Displacer]:
    for block in blocks:
        block[HEARTBEAT] = int(NOW * 1e9)
    contexts: list[Any] = [Context(blocks, number, own) for number, own in enumerate(sessions, start=1)]
    return [Displacer(context) for context in contexts]


def ended(*sessions: list[Silent]) -> list[str]:
    return [session.sid for own in sessions for session in own if session.ending == "displaced"]


def test_the_worker_that_could_end_most_makes_room_for_all(blocks: list[memoryview]) -> None:
    """Wherever the clients wait: at the second look, and nobody beside it ends anything."""
    few = [Silent("a1", "192.0.2.1"), Silent("b1", "192.0.2.2")]
    many = [Silent(f"c{number}", "192.0.2.3") for number in range(5)]
    one, other = workers(blocks, few, many)
    for _ in range(2):
        assert ended(few, many) == []
        one.look(2)
        other.look(0)
    assert ended(few, many) == ["c0", "c1"]


def test_two_that_could_end_as_many_do_not_both_do_it(blocks: list[memoryview]) -> None:
    """The one whose block stands in front does."""
    here, there = [Silent("a1", "192.0.2.1")], [Silent("b1", "192.0.2.2")]
    one, other = workers(blocks, here, there)
    one.look(1)
    other.look(0)
    other.look(0)
    one.look(1)
    assert ended(here, there) == ["a1"]


def test_while_nobody_waits_nobody_is_ended(blocks: list[memoryview]) -> None:
    """However many are silent, and also where somebody did wait."""
    silent = [Silent(f"c{number}", "192.0.2.3") for number in range(5)]
    (worker,) = workers(blocks, silent)
    worker.look(1)
    worker.look(0)
    worker.look(0)
    worker.look(1)
    assert ended(silent) == []
    worker.look(1)
    assert ended(silent) == ["c0"]


def test_a_worker_that_is_stuck_hinders_nobody(blocks: list[memoryview]) -> None:
    """What it showed last is no reason to end anybody, and nobody leaves it to that worker to make room."""
    silent = [Silent("a1", "192.0.2.1")]
    (worker,) = workers(blocks, silent)
    stuck = blocks[2]
    stuck[HEARTBEAT] = int((NOW - STUCK_SECONDS - 1) * 1e9)
    stuck[WAITING], stuck[DISPLACEABLE] = 7, 100
    worker.look(0)
    worker.look(0)
    assert ended(silent) == []
    worker.look(1)
    worker.look(1)
    assert ended(silent) == ["a1"]
