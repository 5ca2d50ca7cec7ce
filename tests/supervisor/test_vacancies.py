"""Who accepts for a slot in which nobody serves: one that serves, and again another when that one is missing too."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.master.listeners import Listeners
from supervisor.master.vacancies import GRACE_SECONDS, Vacancies
from supervisor.sockets.sources import Binding
from supervisor.workerline import Lend, TakeBack
from tests.supervisor.changing import QUIET, listener
from tests.system.site import free_port

SLOTS = 3


@dataclass
class PlayedPool:
    """Workers serve in the slots that a test says, and are told things."""

    serving: set[int]
    refilling: bool = True
    told: list[tuple[int, type]] = field(default_factory=list)

    @property
    def vacant(self) -> set[int]:
        return set(range(SLOTS)) - self.serving if self.refilling else set()

    @property
    def seated(self) -> list[Any]:
        return [SimpleNamespace(slot=slot) for slot in range(SLOTS)]

    def tell(self, worker: Any, message: object, fds: Any = ()) -> None:
        assert len(fds) == (1 if isinstance(message, Lend) else 0)
        self.told.append((worker.slot, type(message)))


@pytest.fixture
def pool() -> PlayedPool:
    """In slot 1 nobody serves."""
    return PlayedPool({0, 2})


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    """One in each slot."""
    listeners, done = Listeners(Binding()), list[str | None]()
    listeners.open(listeners.missing([listener("v", free_port())], SLOTS), 5, done.append)
    assert done == [None]
    yield listeners
    listeners.let_go()


@pytest.fixture
def vacancies(pool: PlayedPool, listeners: Listeners) -> Vacancies:
    """They have been looked at for the first time, at second 0."""
    vacancies = Vacancies(pool, listeners, QUIET, wanted=listeners.copies)  # type: ignore[arg-type]
    vacancies.look(0.0, changing=False)
    return vacancies


def test_a_usual_birth_takes_less_than_the_grace(pool: PlayedPool, vacancies: Vacancies) -> None:
    """Nobody is told anything, and nobody is missing; the time counts anew from the next death."""
    vacancies.look(GRACE_SECONDS - 0.1, changing=False)
    pool.serving = {0, 1, 2}
    vacancies.look(GRACE_SECONDS, changing=False)
    pool.serving = {0, 2}
    vacancies.look(GRACE_SECONDS + 1, changing=False)
    assert vacancies.gauges(GRACE_SECONDS + 1) == {"workers_missing": 0, "workers_missing_since": 0}
    assert pool.told == []


def test_a_deputy_accepts_until_somebody_serves(pool: PlayedPool, listeners: Listeners, vacancies: Vacancies) -> None:
    """It is told once, and its successor inherits; what was lent is taken back."""
    for later in range(3):
        vacancies.look(GRACE_SECONDS + later, changing=False)
    assert (pool.told, listeners.deputies) == ([(0, Lend)], {1: 0})
    pool.serving = {1, 2}  # the deputy has died a moment ago
    vacancies.look(GRACE_SECONDS + 3, changing=False)
    assert (pool.told, listeners.deputies) == ([(0, Lend), (0, TakeBack)], {})


def test_a_deputy_that_is_missing_too_has_a_deputy(
    pool: PlayedPool, listeners: Listeners, vacancies: Vacancies
) -> None:
    """Whoever is left accepts for both; when nobody is, the first that serves does."""
    vacancies.look(GRACE_SECONDS, changing=False)
    pool.serving = {2}
    vacancies.look(GRACE_SECONDS + 1, changing=False)
    assert listeners.deputies == {1: 0}
    vacancies.look(2 * GRACE_SECONDS + 1, changing=False)
    assert listeners.deputies == {0: 2, 1: 2}
    pool.serving = set()
    vacancies.look(2 * GRACE_SECONDS + 2, changing=False)
    vacancies.look(3 * GRACE_SECONDS + 2, changing=False)
    assert listeners.deputies == {}
    pool.serving = {0}
    vacancies.look(3 * GRACE_SECONDS + 3, changing=False)
    assert listeners.deputies == {1: 0, 2: 0}


def test_a_change_and_a_shutdown_are_left_alone(pool: PlayedPool, listeners: Listeners, vacancies: Vacancies) -> None:
    """A change hands out sockets itself; in a shutdown the deputy empties the queues that it has."""
    vacancies.look(GRACE_SECONDS, changing=True)
    assert (pool.told, vacancies.missing) == ([], [1])
    vacancies.look(GRACE_SECONDS + 1, changing=False)
    pool.refilling = False
    vacancies.look(GRACE_SECONDS + 2, changing=False)
    assert listeners.deputies == {1: 0}
    assert vacancies.missing == []
