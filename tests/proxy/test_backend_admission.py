"""How many may wait for backends: however many hang, those who answer find room."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from popular.proxy.session.backend.backend_admission import CROWDED, FULL, BackendAdmission, BackendPlaces
from popular.proxy.session.backend.full_backend import bounded
from popular.proxy.settings.backend import WaitingLimit
from tests.proxy.test_sessions_health import Ill


class Cells:
    """Two workers' blocks: cell 0 is for any backend, the others for one each."""

    def __init__(self) -> None:
        self.blocks = [memoryview(bytearray(8 * 40)).cast("Q") for _ in range(2)]

    def context(self, worker: int) -> Any:
        return SimpleNamespace(cells=self.blocks[worker], sum=lambda cell: sum(block[cell] for block in self.blocks))

    def admissions(self, worker: int, limits: Sequence[WaitingLimit]) -> list[BackendAdmission]:
        context = self.context(worker)
        unlimited = BackendPlaces(context, 39, 0)
        return [
            BackendAdmission(context, cell, limit, of_all=0, places=unlimited) for cell, limit in enumerate(limits, 1)
        ]


def fill(*admissions: BackendAdmission) -> list[int]:
    """How many get in where all push as much as they can."""
    inside = [0] * len(admissions)
    while True:
        entered = [admission.try_begin_waiting() for admission in admissions]
        if not any(entered):
            return inside
        inside = [count + one for count, one in zip(inside, entered, strict=True)]


@pytest.mark.parametrize(("hanging", "each"), [(1, 50), (2, 34), (4, 20), (9, 10), (30, 4)])
def test_backends_that_hang_share_a_room(hanging: int, each: int) -> None:
    """However many hang, over all workers: each gets as many as are left for one that does not."""
    cells = Cells()
    limits = [WaitingLimit(room=100)] * (hanging + 1)
    *some, healthy = cells.admissions(0, limits)
    others = cells.admissions(1, limits)[:hanging]
    inside = fill(*some, *others)
    together = [one + other for one, other in zip(inside[:hanging], inside[hanging:], strict=True)]
    assert each - 1 <= min(together) <= max(together) <= each
    assert fill(healthy)[0] >= (100 - sum(together)) // 2 > 0
    for admission, count in zip([*some, *others], inside, strict=True):
        for _ in range(count):
            admission.end_waiting()
    assert [list(block[1 : hanging + 1]) for block in cells.blocks] == [[0] * hanging] * 2


def test_who_has_a_limit_of_his_own_takes_room_but_keeps_to_his_limit() -> None:
    """An operator's word counts; and one session may always wait."""
    own, shared, free, late = Cells().admissions(
        0, [WaitingLimit(most=70), WaitingLimit(room=100), WaitingLimit(), WaitingLimit(room=100)]
    )
    assert fill(own) == [70]
    assert fill(shared) == [15]
    assert all(free.try_begin_waiting() for _ in range(200))
    assert fill(shared) == [0]
    assert fill(late) == [1]


def test_so_many_are_at_a_backend_over_all_workers_and_one_who_goes_makes_room() -> None:
    """Counted also by a worker whose config has no limit (yet): a limit that is set later finds who is there."""
    cells = Cells()
    here, there, before = (BackendPlaces(cells.context(worker), 1, most) for worker, most in ((0, 3), (1, 3), (1, 0)))
    assert before.try_acquire()
    assert here.try_acquire()
    assert there.try_acquire()
    assert not here.try_acquire()
    assert (here.is_full(), there.is_full(), before.is_full()) == (True, True, False)
    assert before.try_acquire(), "without a limit none is kept out"
    before.give_back()
    before.give_back()
    assert here.try_acquire()
    assert not there.try_acquire()


def test_whoever_wants_to_know_hears_why_no_more_may_come() -> None:
    """And takes no place by that."""
    cells = Cells()
    context = cells.context(0)
    admission = BackendAdmission(context, 2, WaitingLimit(most=1), of_all=0, places=BackendPlaces(context, 1, 1))
    assert admission.hindrance() is None
    assert admission.try_begin_waiting()
    assert admission.hindrance() == CROWDED
    assert admission.places.try_acquire()
    assert admission.hindrance() == FULL


def test_who_is_kept_out_has_taken_nothing() -> None:
    """Neither a place, if too many wait, nor a turn, if it is full; and both are there for the next one."""
    cells = Cells()
    context = cells.context(0)
    admission = BackendAdmission(context, 2, WaitingLimit(most=1), of_all=0, places=BackendPlaces(context, 1, 2))
    assert admission.try_admit() is None
    assert [admission.try_admit() for _ in range(5)] == [CROWDED] * 5
    admission.end_waiting()
    assert admission.try_admit() is None
    admission.end_waiting()
    assert [admission.try_admit() for _ in range(5)] == [FULL] * 5
    admission.places.give_back()
    assert admission.try_admit() is None
    assert list(cells.blocks[0][:3]) == [1, 2, 1]


def test_who_is_full_takes_nobody_as_if_it_were_down() -> None:
    """So its users go to its backup. It is told apart, and a backend without a limit is what it was."""
    cells = Cells()
    context = cells.context(0)
    one, free = (
        BackendAdmission(context, 4, WaitingLimit(), of_all=0, places=BackendPlaces(context, cell, most))
        for cell, most in ((1, 1), (2, 0))
    )
    well, ill = Ill(down=False), Ill(down=True)
    assert bounded(well, free) is well
    health = bounded(well, one)
    assert health.takes("192.0.2.1")
    assert not health.is_down()
    assert one.places.try_acquire()
    assert not health.takes("192.0.2.1")
    assert health.is_down()
    assert health.why_not() == FULL
    one.places.give_back()
    assert bounded(ill, one).why_not() == ("it is down since noon (no answer)", "down")
