"""The change of a configuration, as a model: whatever workers, sockets and clock do in between, all take it or none."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.supervisor.changing import MASTER, PROGRAM, Hand, World, config, listener

LISTENERS = (listener("a", 110), listener("b", 110), listener("c", 995), listener("d", 1995))
"""Two names share a port: what joins a port in use is opened last."""
WISHES = st.builds(config, st.sets(st.sampled_from(LISTENERS)).map(sorted), st.integers(1, 3))
STEPS_TO_THE_END = 500


class Change(RuleBasedStateMachine):
    """Each rule is one step of somebody: the operator, the source of sockets, a worker, the master, a client, time."""

    @initialize(first=WISHES)
    def start(self, first: object) -> None:
        """A program that runs: its slots are filled, its sockets open."""
        self.world = World(config([], 1))
        self.ending = False
        for slot in self.world.empty_slots():
            self.world.give_birth(slot)
        self.world.begin(first, trial=False)  # type: ignore[arg-type]
        self.run_to_the_end()
        assert self.world.wish is not None
        assert self.world.wish.answers == [None]

    def worker(self, number: int) -> Hand:
        return self.world.crew.workers[number % len(self.world.crew.workers)]

    # The operator

    @precondition(lambda self: not self.world.busy and not self.ending)
    @rule(wish=WISHES, trial=st.booleans(), at_once=st.booleans())
    def begin(self, wish: object, trial: bool, at_once: bool) -> None:
        """Another config, or a trial of one; sockets come at once, or later."""
        self.world.doors.at_once = at_once
        self.world.begin(wish, trial)  # type: ignore[arg-type]

    @precondition(lambda self: self.world.busy)
    @rule(really=st.integers(0, 3))
    def abandon(self, really: int) -> None:
        """The program ends meanwhile: nothing new is begun."""
        if really == 0:
            self.ending = True
            self.world.changes.abandon("the program is ending")

    @rule(number=st.integers(0, 9))
    def recycle(self, number: int) -> None:
        """A successor is born into a slot, and the one who sat there leaves; its queues are the successor's."""
        seated = self.world.crew.seated
        if seated and len(self.world.crew.workers) < 8:
            old = seated[number % len(seated)]
            self.world.give_birth(old.slot)
            self.world.crew.dismiss(old, empty=False)

    # The source of sockets

    @precondition(lambda self: self.world.doors.asked)
    @rule(good=st.sampled_from((True, True, True, False)))
    def sockets_come(self, good: bool) -> None:
        """Or they cannot be had."""
        self.world.doors.answer(good)

    # Workers and the master

    @precondition(lambda self: self.world.empty_slots())
    @rule()
    def birth(self) -> None:
        """Whatever is under way."""
        self.world.give_birth(self.world.empty_slots()[0])

    @precondition(lambda self: any(worker.busy for worker in self.world.crew.workers))
    @rule(picks=st.lists(st.integers(0, 11), min_size=1, max_size=6), refuses=st.sampled_from((False, False, True)))
    def act(self, picks: list[int], refuses: bool) -> None:
        """Workers obey, come to an end with the config that they try, and are heard, in any order."""
        for pick in picks:
            busy = [worker for worker in self.world.crew.workers if worker.busy]
            if busy:
                self.one_act(busy[pick // 3 % len(busy)], pick % 3, refuses)

    def one_act(self, worker: Hand, first: int, refuses: bool) -> None:
        """One of what it can do: beginning with `first` of the three."""
        awake = not worker.killed and not worker.hung
        acts = [
            (bool(worker.notes), lambda: self.world.hear(worker)),
            (awake and bool(worker.orders), worker.obey),
            (awake and worker.preparing is not None, lambda: worker.try_out(refuses)),
        ]
        next(act for can, act in acts[first:] + acts[:first] if can)()

    @precondition(lambda self: self.world.crew.workers)
    @rule(number=st.integers(0, 9), really=st.integers(0, 3))
    def hang(self, number: int, really: int) -> None:
        """A worker does nothing any more."""
        self.worker(number).hung |= really == 0

    @precondition(lambda self: self.world.crew.workers)
    @rule(number=st.integers(0, 9), really=st.integers(0, 4))
    def die(self, number: int, really: int) -> None:
        """Killed, at the end of its sessions, or by accident."""
        worker = self.worker(number)
        if worker.killed or (worker.leaving and not worker.orders) or really == 0:
            self.world.die(worker)

    @rule()
    def time_passes(self) -> None:
        """Until somebody has waited for too long, or long enough."""
        self.world.turn()

    # Clients

    @rule(port=st.sampled_from((110, 995, 1995)), number=st.integers(0, 9))
    def client(self, port: int, number: int) -> None:
        """The kernel puts it into one of the queues at the port that are not silenced."""
        doors = [door for door in self.world.doors.all if door.holders and not door.silenced]
        doors = [door for door in doors if door.copy[0].address[1] == port]
        if doors:
            doors[number % len(doors)].queue += 1

    @precondition(lambda self: self.world.crew.workers)
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
        wish = self.world.wish
        if wish is None:
            return
        assert len(wish.answers) <= 1
        assert not (wish.trial and wish.committed)
        if wish.answers:
            refused = wish.answers[0] is not None
            assert wish.committed == (not refused and not wish.trial)
        assert wish.committed or self.world.running == wish.before

    @invariant()
    def nobody_serves_what_is_not_in_force(self) -> None:
        """And whoever is not about to be killed serves the running config when it was said to be."""
        for worker in self.world.crew.workers:
            assert worker.serving.generation in self.world.in_force
        if not self.world.busy:
            behind = [worker for worker in self.world.crew.seated if worker.serving != self.world.running]
            assert all(worker.killed for worker in behind)

    @invariant()
    def sockets_are_those_of_the_config(self) -> None:
        """When no change is under way the master has one for each copy, and no other; what was refused is closed."""
        if self.world.busy or self.world.doors.asked:
            return
        running = self.world.running
        copies = set(itertools.product(PROGRAM.listeners(running), range(running.variables["workers"])))
        assert set(self.world.listeners.copies()) == copies
        open_doors = [door for door in self.world.doors.all if MASTER in door.holders]
        assert sorted(door.copy for door in open_doors) == sorted(copies)
        assert not any(door.silenced for door in open_doors)

    def run_to_the_end(self) -> None:
        """Everybody does what is wanted: then each change has its answer, and nobody waits at a closed door."""
        world = self.world
        for _ in range(STEPS_TO_THE_END):
            for worker in list(world.crew.workers):
                if worker.busy:
                    self.one_act(worker, 0, refuses=False)
                elif worker.killed or (worker.leaving and not worker.hung):
                    world.die(worker)
            for slot in world.empty_slots():
                world.give_birth(slot)
            if world.doors.asked:
                world.doors.answer(True)
            if not any(worker.busy for worker in world.crew.workers):
                if not world.busy:
                    return
                world.turn()
        raise AssertionError("the change has no end")

    def teardown(self) -> None:
        """See run_to_the_end; and then no worker has a socket that the config does not want."""
        if not hasattr(self, "world"):
            return
        self.run_to_the_end()
        self.one_answer()
        self.nobody_serves_what_is_not_in_force()
        self.sockets_are_those_of_the_config()
        wanted = PROGRAM.listeners(self.world.running)
        awake = [worker for worker in self.world.crew.seated if not worker.hung]
        assert [one for worker in awake for one in worker.held if one not in wanted] == []
        assert [worker for worker in awake if worker.prepared or worker.preparing] == [], "they know that it is over"


TestChange = Change.TestCase
TestChange.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
