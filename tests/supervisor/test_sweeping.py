"""Sweeps as the master sees them: rounds, what they found, and who is told of it."""

from collections.abc import Callable
from typing import Any

import pytest

from supervisor.master.sweeping import Sweeps
from supervisor.serving.session import COMMITTING_SECONDS
from supervisor.workerline import Cut, Sweep, SweepFound, Swept
from tests.patience import patient

ONE_IDLE = SweepFound((0, 1), 1)
LOCK = ("user lock", "default:joe")


class OneWorker:
    """A pool with one worker, which answers when it is told to; and a loop that stands still."""

    def __init__(self) -> None:
        self.worker: Any = object()
        self.workers = [self.worker]
        self.asked: list[Sweep] = []
        self.later: list[Callable[[], None]] = []
        me: Any = self
        self.sweeps = Sweeps(me, me)
        self.told: list[SweepFound] = []

    def tell_all(self, message: Sweep) -> None:
        self.asked.append(message)

    def after(self, _seconds: float, do: Callable[[], None]) -> None:
        self.later.append(do)

    def begin(self, *orders: tuple[str, str]) -> None:
        self.sweeps.begin(
            "user", "default:joe", cut=Cut.GENTLE, seconds=patient(60.0), first=self.told.append, orders=orders
        )

    def answers(self, *found: SweepFound) -> None:
        self.sweeps.hear(self.worker, Swept(self.asked[-1].number, found))


def test_who_has_ordered_is_answered_though_it_is_ended_at_once() -> None:
    """`user unlock` after `user lock`, by somebody else: what was found is told, and nobody is looked for again."""
    pool = OneWorker()
    pool.begin(LOCK)
    pool.sweeps.end_of([LOCK])
    pool.answers(ONE_IDLE)
    assert pool.told == [ONE_IDLE]
    assert pool.sweeps.listed() == []


def test_one_that_is_ended_before_its_first_round_ends_nobody() -> None:
    """It waits for the round of another one; then it only counts."""
    pool = OneWorker()
    pool.sweeps.begin("backend", "one", cut=Cut.NONE, seconds=None, first=pool.told.append)
    pool.begin(LOCK)
    pool.sweeps.end_of([LOCK])
    pool.answers(ONE_IDLE)
    pool.later.pop()()
    assert [aim.cut for aim in pool.asked[-1].aims] == [Cut.NONE, Cut.NONE]
    pool.answers(ONE_IDLE, ONE_IDLE)
    assert pool.told == [ONE_IDLE, ONE_IDLE]
    assert [row["id"] for row in pool.sweeps.listed()] == ["one"]


def test_the_end_of_an_order_ends_no_kick() -> None:
    """`user unlock` after `user lock` and `kick user … deadline`: the kick goes on, and has its deadline."""
    pool = OneWorker()
    pool.begin()
    pool.answers(ONE_IDLE)
    pool.begin(LOCK)
    pool.later.pop()()
    pool.answers(ONE_IDLE, ONE_IDLE)
    pool.sweeps.end_of([LOCK, ("user hold", "default:joe")])
    (left,) = pool.sweeps.listed()
    assert (left["number"], left["seconds_left"] is not None) == (1, True)


@pytest.mark.parametrize(
    ("seconds", "cut"),
    [
        (patient(60.0), Cut.GENTLE),
        (0.0, Cut.ALL),
        (-COMMITTING_SECONDS / 2, Cut.ALL),
        (-COMMITTING_SECONDS, Cut.COMMITTING_TOO),
    ],
)
def test_at_the_deadline_all_are_cut_and_a_minute_later_who_has_said_quit(seconds: float, cut: Cut) -> None:
    """A store that never answers QUIT, or a client who only seems to say it, keeps nobody from being moved."""
    pool = OneWorker()
    pool.sweeps.begin("user", "default:joe", cut=Cut.GENTLE, seconds=seconds, first=pool.told.append)
    assert [aim.cut for aim in pool.asked[-1].aims] == [cut]
