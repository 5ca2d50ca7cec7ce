"""A child of the master beside the workers: the exporter, the helper. What it does is its own affair; here it is born,
told things over its lifeline, listened to, and buried.

It cannot hold the master up: what it does not take is left out, and one that takes nothing for long is killed. When it
dies it is born again, after a pause that grows; when the master dies it sees the end of its lifeline and goes.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.master.policy import pause_before_birth
from supervisor.runtime import birth, rights, signals
from supervisor.runtime.descriptors import open_descriptors
from supervisor.runtime.loop import READ, WRITE, Loop, Timer

LONGEST_SILENCE_PULSES = 15
"""So many pulses that it does not take, and it counts as hung."""
_UNREAD_OCTETS = 4096
"""What may lie in the lifeline: a few pulses, so that it is soon seen that nobody takes them."""

_fork = multiprocessing.get_context("fork")

Live = Callable[[socket.socket], None]


class ChildEvents(Protocol):
    """What is told of a child."""

    def heard(self, message: object) -> None:
        """It says something."""

    def died(self, code: int, pause: float) -> None:
        """It is buried, and its successor born in so many seconds."""

    def not_born(self, reason: str) -> None:
        """There is no process for it; it is tried again."""


class Child:
    """One child, from one birth to the next."""

    def __init__(
        self,
        loop: Loop,
        in_child: Callable[[set[int]], None],
        *,
        live: Live,
        keep: Callable[[], set[int]],
        events: ChildEvents,
    ) -> None:
        """`in_child(keep)` lets go of the master's things; `live` runs in the child, with its end of the lifeline;
        `keep` tells which descriptors it keeps beside that.
        """
        self._loop = loop
        self._in_child = in_child
        self._live = live
        self._keep = keep
        self._events = events
        self._process: Any = None
        self._lifeline: Lifeline | None = None
        self._pause: Timer | None = None
        self._deaths = 0
        self._missed = 0
        self._facts: object = None
        self._told_facts = True
        self._wanted = False

    @property
    def lives(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Gives birth to it, if it is not there already."""
        self._wanted = True
        if self._process is None and self._pause is None:
            self._give_birth()

    def _give_birth(self) -> None:
        self._pause = None
        try:
            process, ours = self._fork()
        except OSError as error:
            self._deaths += 1
            self._events.not_born(f"no process: {error.strerror}")
            self._pause = self._loop.after(pause_before_birth(self._deaths), self._give_birth)
            return
        self._process = process
        self._lifeline = Lifeline(ours)
        self._missed, self._told_facts = 0, self._facts is None
        self._loop.watch(ours, READ, self._hear)
        self._loop.watch(process.sentinel, READ, lambda _events: self._bury())
        self._tell_facts()

    def _fork(self) -> tuple[Any, socket.socket]:
        """The process, and our end of its lifeline. Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_OCTETS)
        with theirs:
            try:
                process = _fork.Process(target=self._be_born, args=(theirs, open_descriptors()), daemon=True)
                birth.start(process)
            except OSError:
                ours.close()
                raise
        return process, ours

    def _be_born(self, lifeline: socket.socket, held: set[int]) -> None:
        """In the child. Signals to the group are the master's matter: the child goes when its lifeline ends."""
        # What was opened since, the library needs: by its end the master sees that the child is dead.
        self._in_child({lifeline.fileno()} | self._keep() | (open_descriptors() - held))
        signals.ignore(*signals.SHUTDOWNS, *signals.REOPENS)
        signals.let_come()
        rights.renounce()
        self._live(lifeline)
        os._exit(0)  # not by `return`: what the master does at its end must not be done here

    # What it is told

    def inform(self, facts: object) -> None:
        """What it has to know now; a successor is told the same. What it did not take before counts no more."""
        self._facts = facts
        self._told_facts = False
        self._tell_facts()

    def _tell_facts(self) -> None:
        if not self._told_facts and self._is_attentive():
            self._told_facts = True
            self._tell(self._facts)

    def pulse(self, pulse: object) -> None:
        """To be called once a second."""
        if self._lifeline is None:
            return
        if self.tell_now(pulse):
            self._missed = 0
            return
        self._missed += 1
        if self._missed == LONGEST_SILENCE_PULSES and self._process.exitcode is None:
            self._process.kill()

    def tell_now(self, message: object, fds: Sequence[int] = ()) -> bool:
        """Something that is not to wait for the next pulse; says whether it is taken."""
        self._tell_facts()
        if not self._is_attentive():
            return False
        self._tell(message, fds)
        return True

    def _is_attentive(self) -> bool:
        """Whether it has taken everything so far; if not, nothing is added: the master's memory is not its queue."""
        return self._lifeline is not None and not self._lifeline.wants_write

    def _tell(self, message: object, fds: Sequence[int] = ()) -> None:
        assert self._lifeline is not None
        try:
            self._lifeline.send(message, fds)
        except LifelineLost:
            return  # its sentinel tells the rest
        if self._lifeline.wants_write:
            self._loop.watch(self._lifeline.socket, READ | WRITE, self._hear)

    # What it says

    def _hear(self, events: int) -> None:
        lifeline = self._lifeline
        if lifeline is None:
            return  # buried in the same turn of the loop
        try:
            if events & WRITE:
                lifeline.flush()
            heard = lifeline.receive() if events & READ else []
        except LifelineLost:
            self._loop.unwatch(lifeline.socket)
            return
        if not lifeline.wants_write:
            self._loop.watch(lifeline.socket, READ, self._hear)
        for message, _fds in heard:
            self._events.heard(message)

    def is_well(self) -> None:
        """It does its work: the next one that dies is followed at once."""
        self._deaths = 0

    # Its end

    def _bury(self) -> None:
        self._hear(READ)
        self._process.join()
        code = self._process.exitcode
        self._clear()
        self._deaths += 1
        pause = pause_before_birth(self._deaths)
        self._events.died(code, pause)
        if self._wanted:
            self._pause = self._loop.after(pause, self._give_birth)

    def _clear(self) -> None:
        assert self._lifeline is not None
        self._loop.unwatch(self._process.sentinel)
        self._loop.unwatch(self._lifeline.socket)
        self._process.join()
        self._process.close()
        self._lifeline.close()
        self._process = self._lifeline = None

    def stop(self) -> None:
        """Ends it; what it held is free when this returns."""
        self._wanted = False
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._process is not None:
            self._process.kill()
            self._clear()
