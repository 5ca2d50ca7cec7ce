"""The change of a configuration, as a model: whatever workers, sockets and clock do in between, all take it or none."""

import itertools
from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.supervisor.changing import MASTER, PROGRAM, SimulatedWorker, Simulation, config, listener

LISTENERS = (listener("a", 110), listener("b", 110), listener("c", 995), listener("d", 1995))
"""Two names share a port: what joins a port in use is opened last."""
CONFIGS = st.builds(config, st.sets(st.sampled_from(LISTENERS)).map(sorted), st.integers(1, 3))
STEPS_TO_THE_END = 500


class Change(RuleBasedStateMachine):
    """Each rule is one step of somebody: the operator, the source of sockets, a worker, the master, a client, time."""

    @initialize(first=CONFIGS)
    def start(self, first: object) -> None:
        """A program that runs: its slots are filled, its sockets open."""
        self.simulation = Simulation(config([], 1))
        self.ending = False
        for slot in self.simulation.empty_slots():
            self.simulation.give_birth(slot)
        self.simulation.begin(first, trial=False)  # type: ignore[arg-type]
        self.run_to_the_end()
        assert self.simulation.attempt is not None
        assert self.simulation.attempt.answers == [None]

    def worker(self, number: int) -> SimulatedWorker:
        return self.simulation.pool.workers[number % len(self.simulation.pool.workers)]

    # The operator

    @precondition(lambda self: not self.simulation.busy and not self.ending)
    @rule(attempt=CONFIGS, trial=st.booleans(), at_once=st.booleans())
    def begin(self, attempt: object, trial: bool, at_once: bool) -> None:
        """Another config, or a trial of one; sockets come at once, or later."""
        self.simulation.source.at_once = at_once
        self.simulation.begin(attempt, trial)  # type: ignore[arg-type]

    @precondition(lambda self: self.simulation.busy)
    @rule(really=st.integers(0, 3))
    def abandon(self, really: int) -> None:
        """The program ends meanwhile: nothing new is begun."""
        if really == 0:
            self.ending = True
            self.simulation.changes.abandon("the program is ending")

    @rule(number=st.integers(0, 9))
    def recycle(self, number: int) -> None:
        """A successor is born into a slot, and the one who sat there leaves; its queues are the successor's."""
        seated = self.simulation.pool.seated
        if seated and len(self.simulation.pool.workers) < 8:
            old = seated[number % len(seated)]
            self.simulation.give_birth(old.slot)
            self.simulation.changes.dismiss(old)  # type: ignore[arg-type]

    # The source of sockets

    @precondition(lambda self: self.simulation.source.asked)
    @rule(good=st.sampled_from((True, True, True, False)))
    def sockets_come(self, good: bool) -> None:
        """Or they cannot be had."""
        self.simulation.source.answer(good)

    # Workers and the master

    @precondition(lambda self: self.simulation.empty_slots())
    @rule()
    def birth(self) -> None:
        """Whatever is under way."""
        self.simulation.give_birth(self.simulation.empty_slots()[0])

    @precondition(lambda self: any(worker.busy for worker in self.simulation.pool.workers))
    @rule(picks=st.lists(st.integers(0, 11), min_size=1, max_size=6), refuses=st.sampled_from((False, False, True)))
    def act(self, picks: list[int], refuses: bool) -> None:
        """Workers obey, come to an end with the config that they try, and are heard, in any order."""
        for pick in picks:
            busy = [worker for worker in self.simulation.pool.workers if worker.busy]
            if busy:
                self.one_act(busy[pick // 3 % len(busy)], pick % 3, refuses)

    def one_act(self, worker: SimulatedWorker, first: int, refuses: bool) -> None:
        """One of what it can do: beginning with `first` of the three."""
        awake = not worker.killed and not worker.hung
        acts: list[tuple[bool, Callable[[], None]]] = [
            (bool(worker.notes), lambda: self.simulation.hear(worker)),
            (awake and bool(worker.orders), worker.obey),
            (awake and worker.preparing is not None, lambda: worker.try_out(refuses)),
        ]
        can_do = [act for can, act in acts[first:] + acts[:first] if can]
        can_do[0]()

    @precondition(lambda self: self.simulation.pool.workers)
    @rule(number=st.integers(0, 9), really=st.integers(0, 3))
    def hang(self, number: int, really: int) -> None:
        """A worker does nothing any more."""
        self.worker(number).hung |= really == 0

    @precondition(lambda self: self.simulation.pool.workers)
    @rule(number=st.integers(0, 9), really=st.integers(0, 4))
    def die(self, number: int, really: int) -> None:
        """Killed, at the end of its sessions, or by accident."""
        worker = self.worker(number)
        if worker.killed or (worker.leaving and not worker.orders) or really == 0:
            self.simulation.die(worker)

    @rule()
    def time_passes(self) -> None:
        """Until somebody has waited for too long, or long enough."""
        self.simulation.turn()

    # Clients

    @rule(port=st.sampled_from((110, 995, 1995)), number=st.integers(0, 9))
    def client(self, port: int, number: int) -> None:
        """The kernel puts it into one of the queues at the port that are not silenced."""
        sockets = [
            listening for listening in self.simulation.source.all if listening.holders and not listening.silenced
        ]
        sockets = [listening for listening in sockets if listening.copy[0].address[1] == port]
        if sockets:
            sockets[number % len(sockets)].queue += 1

    @precondition(lambda self: self.simulation.pool.workers)
    @rule(number=st.integers(0, 9))
    def accept(self, number: int) -> None:
        """A worker serves who waits at its sockets."""
        worker = self.worker(number)
        if not worker.killed and not worker.hung:
            for one in worker.held:
                worker.accept(one)

    # What holds after each step

    @invariant()
    def one_answer(self) -> None:
        """None before its time, and no second one; what is in force is not refused, and a trial is not in force."""
        attempt = self.simulation.attempt
        if attempt is None:
            return
        assert len(attempt.answers) <= 1
        assert not (attempt.trial and attempt.committed)
        if attempt.answers:
            refused = attempt.answers[0] is not None
            assert attempt.committed == (not refused and not attempt.trial)
        assert attempt.committed or self.simulation.running == attempt.before

    @invariant()
    def nobody_serves_what_is_not_in_force(self) -> None:
        """And whoever is not about to be killed serves the running config when it was said to be."""
        for worker in self.simulation.pool.workers:
            assert worker.serving.generation in self.simulation.in_force
        if not self.simulation.busy:
            behind = [worker for worker in self.simulation.pool.seated if worker.serving != self.simulation.running]
            assert all(worker.killed for worker in behind)

    @invariant()
    def sockets_are_those_of_the_config(self) -> None:
        """When no change is under way the master has one for each copy, and no other; what was refused is closed."""
        if self.simulation.busy or self.simulation.source.asked:
            return
        running = self.simulation.running
        copies = set(itertools.product(PROGRAM.listeners(running), range(running.variables["workers"])))
        assert set(self.simulation.listeners.copies()) == copies
        open_source = [listening for listening in self.simulation.source.all if MASTER in listening.holders]
        assert sorted(listening.copy for listening in open_source) == sorted(copies)
        assert not any(listening.silenced for listening in open_source)

    def run_to_the_end(self) -> None:
        """Everybody does what is wanted: then each change has its answer, and nobody waits at a closed listening."""
        simulation = self.simulation
        for _ in range(STEPS_TO_THE_END):
            for worker in list(simulation.pool.workers):
                if worker.busy:
                    self.one_act(worker, 0, refuses=False)
                elif worker.killed or (worker.leaving and not worker.hung):
                    simulation.die(worker)
            for slot in simulation.empty_slots():
                simulation.give_birth(slot)
            if simulation.source.asked:
                simulation.source.answer(True)
            if not any(worker.busy for worker in simulation.pool.workers):
                if not simulation.busy:
                    return
                simulation.turn()
        raise AssertionError("the change has no end")

    def teardown(self) -> None:
        """See run_to_the_end; and then no worker has a socket that the config does not want."""
        if not hasattr(self, "simulation"):
            return
        self.run_to_the_end()
        self.one_answer()
        self.nobody_serves_what_is_not_in_force()
        self.sockets_are_those_of_the_config()
        wanted = PROGRAM.listeners(self.simulation.running)
        awake = [worker for worker in self.simulation.pool.seated if not worker.hung]
        assert [one for worker in awake for one in worker.held if one not in wanted] == []
        assert [worker for worker in awake if worker.prepared or worker.preparing] == [], "they know that it is over"


TestChange = Change.TestCase
TestChange.settings = settings(max_examples=300, stateful_step_count=50, deadline=None)


def settle(simulation: Simulation) -> None:
    """All workers do what is wanted of them, as far as it goes without a turn of the clock."""
    while any(worker.busy for worker in simulation.pool.workers):
        for worker in simulation.pool.workers:
            if worker.notes:
                simulation.hear(worker)
            elif worker.orders and not worker.killed:
                worker.obey()
            elif worker.preparing and not worker.killed:
                worker.try_out(refuses=False)


def test_a_recycled_worker_empties_its_queues_first() -> None:
    """Recycled while a change closes a socket: who waits there is not lost, though the successor does not have it."""
    simulation = Simulation(config([], 1))
    simulation.source.at_once = True
    old = simulation.give_birth(0)
    for wanted in (LISTENERS[:1], ()):
        simulation.begin(config(wanted, 1), trial=False)
        settle(simulation)
        simulation.source.all[0].queue = 3
    simulation.give_birth(0)
    simulation.changes.dismiss(old)  # type: ignore[arg-type]
    assert simulation.turn(), "connections that were half open when the socket was silenced are given their time"
    old.obey()
    assert (simulation.source.all[0].queue, old.leaving) == (0, False)
    simulation.hear(old)
    successor = simulation.pool.workers[1]
    successor.obey()
    simulation.hear(successor)
    assert (simulation.busy, old.leaving) == (False, True)


def test_a_worker_that_is_born_while_sockets_join_a_port_takes_nothing_back() -> None:
    """Clients wait in those sockets: if the new worker cannot take the config it is killed, and the change stands."""
    simulation = Simulation(config([], 1))
    simulation.source.at_once = True
    simulation.give_birth(0)
    simulation.begin(config(LISTENERS[:1], 1), trial=False)
    settle(simulation)
    simulation.source.at_once = False
    simulation.begin(config(LISTENERS[:1], 2), trial=False)
    settle(simulation)
    late = simulation.give_birth(0)
    simulation.source.answer(good=True)
    simulation.source.all[1].queue = 3
    late.obey()
    late.try_out(refuses=True)
    simulation.hear(late)
    settle(simulation)
    assert late.killed
    simulation.die(late)
    assert simulation.attempt is not None
    assert (simulation.attempt.answers, simulation.source.all[1].queue) == ([None], 3)
