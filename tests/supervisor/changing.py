"""A simulation for the change of a configuration, in single steps: workers, sockets and a clock do what a test says.

`Changes` and `Listeners` are the real ones. What stands around them in the master is played: the loop's clock, the
pool, and the source of sockets, which may answer late or refuse. A simulated socket has clients in its queue; it lives
as long as somebody holds a descriptor, and who waits at its end is lost.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from supervisor.config import Config
from supervisor.master.change import Changes
from supervisor.master.listeners import Listeners
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Timer
from supervisor.sockets.listener import Listener, ListenerCopy
from supervisor.sockets.sources import Opened
from supervisor.workerline import Abort, Close, Commit, InForce, Leave, Leaving, ListenersClosed, Prepare, Ready, Unable

MASTER = "master"
QUIET = Log("test", os.devnull)
PROGRAM = SimpleNamespace(listeners=lambda config: list(config.things["listener"]))


def listener(name: str, port: int) -> Listener:
    """On loopback; the name counts, as in a real config."""
    return Listener(name, socket.AF_INET, ("127.0.0.1", port), dual_stack=False)


def config(listeners: Iterable[Listener], workers: int) -> Config:
    """One that wants these listeners in so many slots."""
    return Config(0, {"workers": workers, "backlog": 50}, things={"listener": dict.fromkeys(listeners)})  # type: ignore[arg-type]


class Clock:
    """The loop's times, turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[Timer] = []

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        self._timers.append(Timer(self.now + seconds, call))
        return self._timers[-1]

    def turn(self) -> bool:
        """Goes to the next time that somebody waits for; False if nobody does."""
        self._timers = [timer for timer in self._timers if timer.call is not None]
        if not self._timers:
            return False
        timer = min(self._timers, key=lambda timer: timer.when)
        self.now, call, timer.call = max(self.now, timer.when), timer.call, None
        assert call is not None
        call()
        return True


@dataclass(eq=False)
class SimulatedSocket:
    """One listening socket."""

    copy: ListenerCopy
    holders: set[Any]
    queue: int = 0
    silenced: bool = False
    was_in_force: bool = False
    """Whether who waits there must not be lost: a config in force had it, or had its port when it was opened, and a
    worker could serve it when the config gave it up.
    """

    def drop(self, holder: object) -> None:
        self.holders.discard(holder)
        assert self.holders or not self.queue or not self.was_in_force, f"{self.queue} clients are lost at {self.copy}"


@dataclass
class Descriptor:
    """The master's descriptor of a listening socket."""

    listening: SimulatedSocket
    number: int

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.listening.drop(MASTER)


class SimulatedSource:
    """The source of sockets: it answers when it is told to."""

    shared = False

    def __init__(self) -> None:
        self.all: list[SimulatedSocket] = []
        self.asked: list[tuple[list[ListenerCopy], Opened]] = []
        self.at_once = False
        self.ports_in_use: Callable[[], set[int]] = set

    def open(self, copies: Sequence[ListenerCopy], _backlog: int, opened: Opened) -> None:
        self.asked.append((list(copies), opened))
        if self.at_once:
            self.answer(True)

    def answer(self, good: bool) -> None:
        """To the question that waits longest."""
        copies, opened = self.asked.pop(0)
        if not good:
            opened(None, "the port is in use by another program")
            return
        used = self.ports_in_use()
        sockets = [SimulatedSocket(copy, {MASTER}, was_in_force=copy[0].address[1] in used) for copy in copies]
        self.all += sockets
        first = len(self.all) - len(sockets)
        opened([[Descriptor(listening, first + number)] for number, listening in enumerate(sockets)], "")  # type: ignore[list-item]

    def silence(self, _places: Sequence[ListenerCopy], sockets: Sequence[Descriptor]) -> None:
        for descriptor in sockets:
            descriptor.listening.silenced = True

    def give_up(self, _places: Sequence[ListenerCopy]) -> None:
        pass


@dataclass(eq=False)
class SimulatedWorker:
    """A worker: as the pool knows it, and, below, as it is."""

    slot: int
    serving: Config
    leaving: bool = False
    dismissed: bool = False
    killed: bool = False
    hung: bool = False
    late: bool = False
    """Somebody's time may have been up while it had something to do."""
    refused: bool = False
    """It said that it cannot serve a config."""
    orders: list[object] = field(default_factory=list)
    """Sent, and not yet obeyed."""
    notes: list[object] = field(default_factory=list)
    """Said, and not yet heard by the master."""
    held: dict[Listener, SimulatedSocket] = field(default_factory=dict)
    retired: dict[Listener, Config] = field(default_factory=dict)
    preparing: Config | None = None
    prepared: Config | None = None
    lent: dict[int, list[SimulatedSocket]] = field(default_factory=dict)
    """With a Commit that is still under way, by its generation."""

    @property
    def busy(self) -> bool:
        """Whether it, or the master, has something to do next."""
        return bool(self.notes or (not self.killed and not self.hung and (self.orders or self.preparing)))

    def obey(self) -> None:
        """The next order, as worker.py and acceptor.py in supervisor/worker do."""
        match self.orders.pop(0):
            case Prepare(config):
                self.preparing = config
            case Abort():
                self.preparing = self.prepared = None
            case Commit(generation, listeners, _):
                self._commit(generation, listeners)
            case Close(generation, listeners):
                for listener in listeners:
                    self._give_back(listener, empty=True)
                self.notes.append(ListenersClosed(generation))
            case Leave(empty):
                for listener in list(self.held):
                    self._give_back(listener, empty)
                self.notes.append(Leaving())

    def _commit(self, generation: int, listeners: Sequence[Listener]) -> None:
        if self.prepared is None or self.prepared.generation != generation:
            return
        old, self.serving, self.prepared = self.serving, self.prepared, None
        wanted = PROGRAM.listeners(self.serving)
        self.retired |= {one: old for one in self.held if one not in wanted and one not in self.retired}
        self.held |= dict(zip(listeners, self.lent.pop(generation), strict=True))
        self.notes.append(InForce(generation))

    def try_out(self, refuses: bool) -> None:
        """Comes to an end with the config that it tries."""
        assert self.preparing is not None
        tried, self.preparing = self.preparing, None
        if refuses:
            self.refused = True
            self.notes.append(Unable(tried.generation, "no such module"))
        else:
            self.prepared = tried
            self.notes.append(Ready(tried.generation))

    def accept(self, listener: Listener) -> None:
        """Who waits there is served, under the config that let him in."""
        listening = self.held[listener]
        under = self.retired.get(listener, self.serving)
        assert not listening.queue or listener in PROGRAM.listeners(under), (
            f"served at {listener} under a config without it"
        )
        listening.queue = 0

    def _give_back(self, listener: Listener, empty: bool) -> None:
        if listener not in self.held:
            return
        if empty:
            self.accept(listener)
        self.held.pop(listener).drop(self)


class SimulatedPool:
    """The pool."""

    def __init__(self, source: SimulatedSource) -> None:
        self.workers: list[SimulatedWorker] = []
        self.trouble = self.shortage = ""
        self._source = source

    @property
    def seated(self) -> list[SimulatedWorker]:
        return [worker for worker in self.workers if not worker.leaving]

    def tell(self, worker: SimulatedWorker, message: object, fds: Sequence[int] = ()) -> None:
        sockets = [self._source.all[fd] for fd in fds]
        for listening in sockets:
            assert MASTER in listening.holders, "a descriptor that is closed"
            listening.holders.add(worker)  # it travels with the message
        if isinstance(message, Commit):
            worker.lent[message.generation] = sockets
        worker.orders.append(message)

    def ask(self, worker: SimulatedWorker, order: object, _answered: object, *, fds: Sequence[int] = ()) -> None:
        self.tell(worker, order, fds)

    def dismiss(self, worker: SimulatedWorker, empty: bool = True) -> None:
        worker.leaving = worker.dismissed = True
        self.tell(worker, Leave(empty))

    @staticmethod
    def signal(worker: SimulatedWorker, number: int) -> None:
        assert number == signal.SIGKILL
        assert worker.hung or worker.late or worker.refused, "it did all it was asked to, at once"
        worker.killed = True


@dataclass
class Attempt:
    """One change that was begun."""

    config: Config
    trial: bool
    before: Config
    committed: bool = False
    tried: bool = False
    """A worker said that it can serve a config, or it was in force before."""
    deadly: bool = False
    """A worker died while it tried this."""
    answers: list[str | None] = field(default_factory=list)


class Simulation:
    """A master's part of it all."""

    def __init__(self, first: Config) -> None:
        self.clock, self.source = Clock(), SimulatedSource()
        self.pool, self.listeners = SimulatedPool(self.source), Listeners(self.source)  # type: ignore[arg-type]
        self.changes = Changes(
            PROGRAM,  # type: ignore[arg-type]
            first,
            self.clock,  # type: ignore[arg-type]
            log=QUIET,
            indexes=SimpleNamespace(settle=lambda _things, _running=None: {}),  # type: ignore[arg-type]
            pool=self.pool,  # type: ignore[arg-type]
            listeners=self.listeners,
            events=self,
        )
        self.source.ports_in_use = self._ports_in_force
        self.in_force = {first.generation}
        self.attempt: Attempt | None = None

    @property
    def running(self) -> Config:
        return self.changes.running

    @property
    def busy(self) -> bool:
        return self.attempt is not None and not self.attempt.answers

    def begin(self, config: Config, trial: bool, proven: bool = False) -> None:
        attempt = self.attempt = Attempt(config, trial, self.running, tried=proven)
        self.changes.begin(config, b"", attempt.answers.append, trial=trial, proven=proven)

    def taken_back(self) -> None:
        """The answer tells it."""

    def committed(self, config: Config) -> None:
        assert self.attempt is not None
        assert not self.attempt.committed
        assert not self.attempt.deadly
        assert self.attempt.tried or self._takes_away(self.attempt), "nobody has tried it"
        self.attempt.committed = True
        self.in_force.add(config.generation)
        for listening in self.source.all:
            if self._is_surplus(listening):
                listening.was_in_force &= any(worker in listening.holders for worker in self.pool.seated)  # likewise
            else:
                listening.was_in_force |= MASTER in listening.holders

    @staticmethod
    def _takes_away(attempt: Attempt) -> bool:
        same = attempt.config.variables == attempt.before.variables
        return same and set(PROGRAM.listeners(attempt.config)) <= set(PROGRAM.listeners(attempt.before))

    def _is_surplus(self, listening: SimulatedSocket) -> bool:
        one, slot = listening.copy
        return one not in PROGRAM.listeners(self.running) or slot >= self.running.variables["workers"]

    def _ports_in_force(self) -> set[int]:
        return {one.address[1] for one in PROGRAM.listeners(self.running)}

    def empty_slots(self) -> list[int]:
        taken = {worker.slot for worker in self.pool.seated}
        return [slot for slot in range(self.running.variables["workers"]) if slot not in taken]

    def give_birth(self, slot: int) -> SimulatedWorker:
        """As supervisor/master/master.py lets a worker inherit."""
        worker = SimulatedWorker(slot, self.running)
        wanted = PROGRAM.listeners(self.running)
        copies = [copy for copy in self.listeners.copies() if copy[0] in wanted]
        for one, descriptor in self.listeners.of_slot(slot, copies).items():
            worker.held[one] = descriptor.listening  # type: ignore[attr-defined]
            worker.held[one].holders.add(worker)
        self.pool.workers.append(worker)
        self.changes.include(worker)  # type: ignore[arg-type]
        return worker

    def turn(self) -> bool:
        """Time passes; who has something to do is late."""
        for worker in self.pool.workers:
            worker.late |= worker.busy
        return self.clock.turn()

    def hear(self, worker: SimulatedWorker) -> None:
        note = worker.notes.pop(0)
        if self.attempt is not None and isinstance(note, Ready):
            self.attempt.tried = True
        self.changes.hear(worker, note)  # type: ignore[arg-type]

    def die(self, worker: SimulatedWorker) -> None:
        """Whatever it had, and whatever it said that was not heard, is gone."""
        self.pool.workers.remove(worker)
        if self.attempt is not None and worker.preparing is not None and not worker.leaving:
            self.attempt.deadly |= worker.preparing == self.attempt.config
        for listening in self.source.all:
            if worker in listening.holders and self._is_surplus(listening):
                listening.was_in_force = False  # nobody else can serve them under the config that let them in
            listening.drop(worker)
        self.changes.forget(worker)  # type: ignore[arg-type]
