"""How many may wait for backends: however many hang, those who answer find room."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from popular.proxy.session.backend_queue import BackendQueue
from popular.proxy.settings.backend import WaitingLimit


class Cells:
    """Two workers' blocks: cell 0 is for any backend, the others for one each."""

    def __init__(self) -> None:
        self.blocks = [memoryview(bytearray(8 * 40)).cast("Q") for _ in range(2)]

    def queues(self, worker: int, limits: Sequence[WaitingLimit]) -> list[BackendQueue]:
        context: Any = SimpleNamespace(
            cells=self.blocks[worker], sum=lambda cell: sum(block[cell] for block in self.blocks)
        )
        return [BackendQueue(context, cell, limit, of_all=0) for cell, limit in enumerate(limits, start=1)]


def fill(*queues: BackendQueue) -> list[int]:
    """How many get in where all push as much as they can."""
    inside = [0] * len(queues)
    while True:
        entered = [queue.enter() for queue in queues]
        if not any(entered):
            return inside
        inside = [count + one for count, one in zip(inside, entered, strict=True)]


@pytest.mark.parametrize(("hanging", "each"), [(1, 50), (2, 34), (4, 20), (9, 10), (30, 4)])
def test_backends_that_hang_share_a_room(hanging: int, each: int) -> None:
    """However many hang, over all workers: each gets as many as are left for one that does not."""
    cells = Cells()
    limits = [WaitingLimit(room=100)] * (hanging + 1)
    *some, healthy = cells.queues(0, limits)
    others = cells.queues(1, limits)[:hanging]
    inside = fill(*some, *others)
    together = [one + other for one, other in zip(inside[:hanging], inside[hanging:], strict=True)]
    assert each - 1 <= min(together) <= max(together) <= each
    assert fill(healthy)[0] >= (100 - sum(together)) // 2 > 0
    for queue, count in zip([*some, *others], inside, strict=True):
        for _ in range(count):
            queue.leave()
    assert [list(block[1 : hanging + 1]) for block in cells.blocks] == [[0] * hanging] * 2


def test_who_has_a_limit_of_his_own_takes_room_but_keeps_to_his_limit() -> None:
    """An operator's word counts; and one session may always wait."""
    own, shared, free, late = Cells().queues(
        0, [WaitingLimit(most=70), WaitingLimit(room=100), WaitingLimit(), WaitingLimit(room=100)]
    )
    assert fill(own) == [70]
    assert fill(shared) == [15]
    assert all(free.enter() for _ in range(200))
    assert fill(shared) == [0]
    assert fill(late) == [1]
