"""The slots and who sits in them: births, deaths, and messages to the living.

The pool fills an empty slot again unless it was told not to; when is policy.py's decision. What a message or a death
means is the master's matter: it is told (`PoolEvents`).
"""

import multiprocessing
import multiprocessing.popen_fork  # now, while it can still be read: who gave up root may not reach the library
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.master.policy import cause_of_death, pause_before_birth
from supervisor.runtime import birth, messages, signals
from supervisor.runtime.descriptors import open_descriptors
from supervisor.runtime.log import Log
from supervisor.runtime.loop import READ, WRITE, Loop, Timer
from supervisor.runtime.plural import count_of
from supervisor.table.contents import BASE_CELLS
from supervisor.table.segment import Segment
from supervisor.worker.worker import Inheritance, live
from supervisor.workerline import ANSWERS, Born, LastWords, Leave

_fork = multiprocessing.get_context("fork")

_PID, _SLOT, _BIRTH, _HEARTBEAT, _TOKEN_CELL, _LAG, *_USAGE = range(len(BASE_CELLS))


AGAIN_SECONDS = 1.0
"""When a birth is tried again that was not possible."""


class NoBirth(Exception):
    """No worker can be born now: no block is left in the table, no descriptor or no process."""


@dataclass(eq=False)
class WorkerProcess:
    """A worker as the master sees it."""

    slot: int
    block: int
    process: Any
    lifeline: Lifeline
    serving: bool = False
    leaving: bool = False
    """It accepts nothing more; its slot may have a successor already."""
    dismissed: bool = False
    """It was asked to go: its death is no accident."""
    hung: bool = False
    ended_by: int = 0
    """The signal by which the master ends it, and its sessions with it."""
    last_words: str = ""
    cut: int = 0
    """Sessions that it has ended itself when it was sent a signal."""
    born: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def age(self) -> float:
        """Seconds since its birth."""
        return round(time.monotonic() - self.born, 3)


Answered = Callable[[WorkerProcess, Any], None]
"""Hears what a worker says of what it was asked."""


class PoolEvents(Protocol):
    """What a pool asks of its master, and tells it."""

    def inherit(self, slot: int, block: int, lifeline: socket.socket, *, tolerant: bool) -> Inheritance:
        """What a worker receives at birth."""

    def forget_all(self, keep: set[int]) -> None:
        """In a fresh child: lets go of what is the master's, but for these descriptors."""

    def born(self, worker: WorkerProcess) -> None:
        """A worker is there; it does not serve yet."""

    def heard(self, worker: WorkerProcess, message: Any) -> None:
        """A worker said this on its lifeline, of itself."""

    def died(self, worker: WorkerProcess, code: int) -> None:
        """A worker is dead; its block still shows what it held."""


class Pool:
    """All workers of a master."""

    def __init__(self, loop: Loop, log: Log, segment: Segment, *, slots: int, events: PoolEvents) -> None:
        self._loop = loop
        self._log = log
        self._segment = segment
        self._events = events
        self._births = 0
        self._slots = slots
        self._deaths_at_birth: dict[int, int] = {}
        self._pauses: dict[int, Any] = {}
        self._asked_by: dict[WorkerProcess, Answered] = {}
        self._again: Timer | None = None
        self._no_birth = ""
        self._died_at_birth = ""
        self.workers: list[WorkerProcess] = []
        self.refilling = True

    @property
    def seated(self) -> list[WorkerProcess]:
        """The workers that accept, or will; those that only finish their sessions are not among them."""
        return [worker for worker in self.workers if not worker.leaving]

    @property
    def vacant(self) -> set[int]:
        """The slots in which nobody serves; none while they are not to be filled again."""
        return set(range(self._slots)) - self.serving if self.refilling else set()

    @property
    def serving(self) -> set[int]:
        """The slots in which somebody serves."""
        return {worker.slot for worker in self.seated if worker.serving and worker.slot < self._slots}

    @property
    def trouble(self) -> str:
        """Why slots stay empty, if they do: no birth is possible, or what the last one born died of."""
        return self._no_birth or self._died_at_birth

    @property
    def shortage(self) -> str:
        """That not all workers can be born that there shall be; "" if nothing is known of that."""
        if not self._no_birth:
            return ""
        empty = self._slots - len({worker.slot for worker in self.seated})
        return f"{empty} of {count_of(self._slots, 'worker')} cannot be born now: {self._no_birth}"

    def set_slots(self, slots: int) -> None:
        """There are so many slots from now on. Who sits in a slot too many is not sent away here."""
        self._slots = slots
        if self.refilling:
            self.fill()

    def fill(self) -> None:
        """Every slot without a worker gets one, now or as soon as that is possible."""
        taken = {worker.slot for worker in self.seated}
        reason = ""
        try:
            for slot in range(self._slots):
                if slot not in taken and slot not in self._pauses:
                    self.give_birth(slot)
        except NoBirth as error:
            reason = str(error)
            self._fill_later()
        if reason and reason != self._no_birth:
            self._log(messages.NO_BIRTH, reason=reason)
        self._no_birth = reason

    def _fill_later(self) -> None:
        if self._again is None:
            self._again = self._loop.after(AGAIN_SECONDS, self._fill_again)

    def _fill_again(self) -> None:
        self._again = None
        if self.refilling:
            self.fill()

    def dismiss(self, worker: WorkerProcess, empty: bool = True) -> None:
        """Asks a worker to accept nothing more and to go when its sessions are over."""
        worker.leaving = worker.dismissed = True
        self._log.debug("MAIN", "dismissed", slot=worker.slot, worker=worker.pid, accepts_who_waits=str(empty).lower())
        self.tell(worker, Leave(empty))

    def give_birth(self, slot: int, *, tolerant: bool = True) -> WorkerProcess:
        """Puts a worker into a slot. Raises NoBirth. A tolerant one does without what it cannot open."""
        block = self._free_block()
        process, ours = self._fork(slot, block, tolerant=tolerant)
        worker = WorkerProcess(slot, block, process, lifeline=Lifeline(ours))
        self._take_block(worker)
        self.workers.append(worker)
        self._log.debug("MAIN", "birth", slot=slot, worker=worker.pid, birth=self._births, block=block)
        self._loop.watch(ours, READ, lambda events: self._hear(worker, events))
        self._loop.watch(process.sentinel, READ, lambda _events: self._bury(worker))
        self._events.born(worker)
        return worker

    def _fork(self, slot: int, block: int, *, tolerant: bool) -> tuple[Any, socket.socket]:
        """The process, and our end of its lifeline."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise NoBirth(os.strerror(error.errno or 0)) from None
        with theirs:
            try:
                inheritance = self._events.inherit(slot, block, theirs, tolerant=tolerant)
                process = _fork.Process(target=self._be_born, args=(inheritance, open_descriptors()), daemon=False)
                birth.start(process)
            except OSError as error:
                ours.close()
                raise NoBirth(os.strerror(error.errno or 0)) from None
        return process, ours

    def _be_born(self, inheritance: Inheritance, held: set[int]) -> None:
        """The first steps of the child: it lets go of everything that the master held and it did not inherit."""
        own = {
            inheritance.lifeline.fileno(),
            inheritance.tokens.read_end,
            inheritance.tokens.write_end,
            inheritance.segment.locks,
            inheritance.log.fileno(),
        }
        own |= {listening.fileno() for listening in inheritance.listeners.values()}
        self._events.forget_all(own | (open_descriptors() - held))
        signals.let_come()
        live(inheritance)

    def _free_block(self) -> int:
        """A block that nobody counts in; its counters go on from where they stand. Block 0 is the master's."""
        taken = {worker.block for worker in self.workers}
        for index in range(1, self._segment.layout.block_count):
            if index not in taken:
                return index
        there = count_of(len(taken), "worker is still there", "workers are still there")
        raise NoBirth(f"{there}; wait until some have finished their sessions")

    def _take_block(self, worker: WorkerProcess) -> None:
        self._births += 1
        cells = self._segment.block(worker.block)
        cells[_SLOT] = worker.slot
        cells[_BIRTH] = self._births
        cells[_HEARTBEAT] = cells[_LAG] = 0
        cells[_PID] = worker.pid

    def _hear(self, worker: WorkerProcess, events: int) -> None:
        try:
            if events & WRITE:
                worker.lifeline.flush()
            heard = worker.lifeline.receive() if events & READ else []
        except LifelineLost:
            # Its sentinel tells the rest; the lifeline alone says nothing about the process.
            self._loop.unwatch(worker.lifeline.socket)
            return
        for message, _fds in heard:
            match message:
                case Born():
                    worker.serving = True
                    self._died_at_birth = ""
                    self._deaths_at_birth.pop(worker.slot, None)
                case LastWords(text, cut):
                    worker.last_words, worker.cut = text, cut
            hear = self._asked_by[worker] if isinstance(message, ANSWERS) else self._events.heard
            hear(worker, message)
        self._watch_lifeline(worker)

    def _watch_lifeline(self, worker: WorkerProcess) -> None:
        events = READ | WRITE if worker.lifeline.wants_write else READ
        self._loop.watch(worker.lifeline.socket, events, lambda happened: self._hear(worker, happened))

    def tell(self, worker: WorkerProcess, message: object, fds: Sequence[int] = ()) -> None:
        """Sends a message. A worker that is dying is not told; its successor will know."""
        try:
            worker.lifeline.send(message, fds)
        except LifelineLost:
            return
        if worker.lifeline.wants_write:
            self._watch_lifeline(worker)

    def ask(self, worker: WorkerProcess, message: object, answered: Answered, *, fds: Sequence[int] = ()) -> None:
        """Sends a message that is answered (one of ANSWERS), to whoever has asked last."""
        self._asked_by[worker] = answered
        self.tell(worker, message, fds)

    def tell_all(self, message: object) -> None:
        for worker in self.workers:
            self.tell(worker, message)

    def signal_all(self, number: int = signal.SIGTERM) -> None:
        """Ends all workers at once; their sessions end with them."""
        for worker in self.workers:
            worker.dismissed = True
            worker.ended_by = number
            self.signal(worker, number)

    @staticmethod
    def signal(worker: WorkerProcess, number: int) -> None:
        """Sends a signal, unless it is dead already: its pid may then be another's, even if it was not buried yet."""
        if worker.process.exitcode is None:
            os.kill(worker.pid, number)

    def _bury(self, worker: WorkerProcess) -> None:
        """A worker is dead: clears its place, tells the master, and sees to a successor."""
        self._loop.unwatch(worker.process.sentinel)
        self._loop.unwatch(worker.lifeline.socket)
        worker.process.join()
        code = worker.process.exitcode
        self._hear_last_words(worker)
        if not worker.serving and not worker.dismissed:
            self._died_at_birth = f"the last one died at birth ({worker.last_words or cause_of_death(code)})"
        worker.lifeline.close()
        self.workers.remove(worker)
        self._asked_by.pop(worker, None)
        self._log.debug("MAIN", "death", slot=worker.slot, worker=worker.pid, code=code, seconds=worker.age())
        cells = self._segment.block(worker.block)
        for cell in (_PID, *_USAGE):
            cells[cell] = 0
        self._events.died(worker, code)
        cells[_TOKEN_CELL] = 0  # the master has looked for a token in it
        worker.process.close()
        if self.refilling:
            self._arrange_successor(worker)

    def _hear_last_words(self, worker: WorkerProcess) -> None:
        try:
            for message, _fds in worker.lifeline.receive():
                if isinstance(message, LastWords):
                    worker.last_words, worker.cut = message.text, message.cut
        except LifelineLost:
            pass

    def _arrange_successor(self, worker: WorkerProcess) -> None:
        is_needed = worker.slot < self._slots and worker.slot not in {other.slot for other in self.seated}
        if worker.serving or worker.dismissed or not is_needed:
            self.fill()
            return
        deaths = self._deaths_at_birth[worker.slot] = self._deaths_at_birth.get(worker.slot, 0) + 1
        pause = pause_before_birth(deaths)
        self._log(messages.WORKER_RETRY, slot=worker.slot, deaths=deaths, pause=pause)

        def try_again() -> None:
            del self._pauses[worker.slot]
            if self.refilling:
                self.fill()

        self._pauses[worker.slot] = self._loop.after(pause, try_again)
