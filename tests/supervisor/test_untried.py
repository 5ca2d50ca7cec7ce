"""A change of the config while no worker sits in any slot: nothing is in force that nobody has tried."""

import pytest

from tests.supervisor.changing import SimulatedWorker, Simulation, config, listener

ONE, TWO = listener("a", 110), listener("b", 995)


@pytest.fixture
def simulation() -> Simulation:
    """A program that runs with one listener, whose only worker has just died."""
    simulation = Simulation(config([], 1))
    simulation.source.at_once = True
    worker = simulation.give_birth(0)
    simulation.begin(config([ONE], 1), trial=False)
    _do_all(simulation, worker)
    assert _answers(simulation) == [None]
    simulation.die(worker)
    return simulation


def _do_all(simulation: Simulation, worker: SimulatedWorker, refuses: bool = False) -> None:
    while worker.busy:
        if worker.notes:
            simulation.hear(worker)
        elif worker.orders:
            worker.obey()
        else:
            worker.try_out(refuses)


def _answers(simulation: Simulation) -> list[str | None]:
    assert simulation.attempt is not None
    return simulation.attempt.answers


@pytest.mark.parametrize("trial", [True, False])
def test_it_waits_for_a_birth(simulation: Simulation, trial: bool) -> None:
    """Who is born then tries it; only when it can be served it is good."""
    simulation.begin(config([ONE, TWO], 1), trial=trial)
    assert _answers(simulation) == []
    _do_all(simulation, simulation.give_birth(0))
    assert _answers(simulation) == [None]


@pytest.mark.parametrize("trial", [True, False])
def test_it_is_refused_if_nobody_comes(simulation: Simulation, trial: bool) -> None:
    """In words, with what is known of why."""
    simulation.pool.trouble = "too many open files"
    simulation.begin(config([ONE, TWO], 1), trial=trial)
    assert simulation.turn()
    assert _answers(simulation) == ["no worker lives that could try this: too many open files; nothing was changed"]


def test_who_was_asked_to_go_is_no_reason_to_refuse_it(simulation: Simulation) -> None:
    """`shutdown children`: the old one dies while it tries it, its successor tries it again."""
    old = simulation.give_birth(0)
    simulation.begin(config([ONE, TWO], 1), trial=False)
    old.dismissed = True
    simulation.die(old)
    assert _answers(simulation) == []
    _do_all(simulation, simulation.give_birth(0))
    assert _answers(simulation) == [None]


def test_to_take_something_away_needs_no_trial(simulation: Simulation) -> None:
    """It may be what no worker can live with."""
    simulation.begin(config([], 1), trial=False)
    assert _answers(simulation) == []
    simulation.turn()
    assert _answers(simulation) == [None]


def test_what_was_in_force_comes_back_untried(simulation: Simulation) -> None:
    """A change that is not confirmed is taken back also when all workers die of it."""
    simulation.pool.trouble = "too many open files"
    simulation.begin(config([ONE, TWO], 1), trial=False, proven=True)
    assert _answers(simulation) == [None]


def test_nor_has_it_to_wait_for_who_dies_at_birth(simulation: Simulation) -> None:
    """One is being born just then, and cannot live: that says nothing about the change."""
    newborn = simulation.give_birth(0)
    newborn.serving = None  # type: ignore[assignment]  # it has not come so far
    simulation.begin(config([], 1), trial=False)
    assert _answers(simulation) == []
    simulation.die(newborn)
    simulation.turn()
    assert _answers(simulation) == [None]


IN_USE = "the port is in use by another program"


@pytest.mark.parametrize("trial", [True, False])
@pytest.mark.parametrize(
    ("comes", "refuses", "told"),
    [(True, True, f"{IN_USE}; also: no such module"), (True, False, IN_USE), (False, False, IN_USE)],
)
def test_what_has_no_port_is_tried_all_the_same(
    simulation: Simulation, comes: bool, refuses: bool, told: str, *, trial: bool
) -> None:
    """So that all that is wrong with it is told at once; in force it never is, whatever a worker says."""
    simulation.source.at_once = False
    simulation.begin(config([ONE, TWO], 1), trial=trial)
    simulation.source.answer(False)
    assert _answers(simulation) == []
    if comes:
        _do_all(simulation, simulation.give_birth(0), refuses)
    else:
        assert simulation.turn()
    assert _answers(simulation) == [told]
    assert simulation.attempt is not None
    assert not simulation.attempt.committed
