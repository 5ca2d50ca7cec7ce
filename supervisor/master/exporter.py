"""The exporter: a child process that shows the world what the table holds. This is the master's side of it.

What runs in the child is the program's (`Program.exporter`), because the supervisor knows nothing of HTTP. The child
reads the table, and is told over its lifeline what does not stand there: after each change the config as the program
describes it, and each second what only the master sees (exporterline.py). It cannot hold the master up: what it does
not take is left out, and one that takes nothing for long is killed. When it dies it is born again, after a pause that
grows; when the master dies it sees the end of its lifeline and goes.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

from supervisor.exporterline import DescribedConfig, ExporterInheritance, Fault, Listening, Pulse, Waiting
from supervisor.lifeline import Lifeline, LifelineLost
from supervisor.master.policy import pause_before_birth
from supervisor.runtime import birth, messages, rights, signals
from supervisor.runtime.descriptors import open_descriptors
from supervisor.runtime.httpaddress import OFF, HttpAddress
from supervisor.runtime.log import Log
from supervisor.runtime.loop import READ, WRITE, Loop, Timer

LONGEST_SILENCE_PULSES = 15
"""So many pulses that it does not take, and it counts as hung."""
_UNREAD_OCTETS = 4096
"""What may lie in the lifeline: a few pulses, so that it is soon seen that nobody takes them."""

_fork = multiprocessing.get_context("fork")


class Exporter:
    """The child as the master sees it. With no address there is none, and everything here does nothing."""

    def __init__(
        self,
        loop: Loop,
        log: Log,
        in_child: Callable[[set[int]], None],
        *,
        live: Callable[[ExporterInheritance], None],
        inherit: Callable[[socket.socket], ExporterInheritance] | None,
    ) -> None:
        """`live` runs in the child; `inherit(lifeline)` makes what it gets, None where no exporter is wanted."""
        self._loop = loop
        self._log = log
        self._in_child = in_child
        self._live = live
        self._inherit = inherit
        self._facts = DescribedConfig({})
        self._process: Any = None
        self._lifeline: Lifeline | None = None
        self._pause: Timer | None = None
        self._deaths = 0
        self._missed = 0
        self._told_facts = False
        self._waiting_for = ""
        self.address: HttpAddress | None = None
        """Where it listens now."""

    @property
    def shown_address(self) -> str:
        """For people: "off", or where it listens, or nothing as long as it does not."""
        if self._inherit is None:
            return OFF
        return str(self.address) if self.address is not None else ""

    def start(self) -> None:
        """Gives birth to it."""
        self._pause = None
        if self._inherit is None:
            return
        try:
            process, ours = self._fork(self._inherit)
        except OSError as error:
            self._deaths += 1
            self._heed(Waiting(f"no process: {error.strerror}"))
            self._pause = self._loop.after(pause_before_birth(self._deaths), self.start)
            return
        self._process = process
        self._lifeline = Lifeline(ours)
        self._missed, self._told_facts = 0, False
        self._loop.watch(ours, READ, self._hear)
        self._loop.watch(process.sentinel, READ, lambda _events: self._bury())
        self._tell_facts()

    def _fork(self, inherit: Callable[[socket.socket], ExporterInheritance]) -> tuple[Any, socket.socket]:
        """The process, and our end of its lifeline. Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_OCTETS)
        with theirs:
            try:
                process = _fork.Process(target=self._be_born, args=(inherit(theirs), open_descriptors()), daemon=True)
                birth.start(process)
            except OSError:
                ours.close()
                raise
        return process, ours

    def _be_born(self, inheritance: ExporterInheritance, held: set[int]) -> None:
        """In the child. Signals to the group are the master's matter: the child goes when its lifeline ends."""
        # What was opened since, the library needs: by its end the master sees that the child is dead.
        given = {one.fileno() for one in (inheritance.lifeline, inheritance.http) if one is not None}
        self._in_child(given | (open_descriptors() - held))
        signals.ignore(*signals.SHUTDOWNS, *signals.REOPENS)
        signals.let_come()
        rights.renounce()
        self._live(inheritance)
        os._exit(0)  # not by `return`: what the master does at its end must not be done here

    # What it is told

    def describe(self, described: dict[str, Any]) -> None:
        """The config has changed."""
        self._facts = DescribedConfig(described)
        self._told_facts = False
        self._tell_facts()

    def _tell_facts(self) -> None:
        if not self._told_facts and self._is_attentive():
            self._told_facts = True
            self._tell(self._facts)

    def pulse(self, pulse: Pulse) -> None:
        """To be called once a second."""
        if self._lifeline is None:
            return
        self._tell_facts()
        if self._is_attentive():
            self._missed = 0
            self._tell(pulse)
            return
        self._missed += 1
        if self._missed == LONGEST_SILENCE_PULSES and self._process.exitcode is None:
            self._process.kill()

    def _is_attentive(self) -> bool:
        """Whether it has taken everything so far; if not, nothing is added: the master's memory is not its queue."""
        return self._lifeline is not None and not self._lifeline.wants_write

    def _tell(self, message: object) -> None:
        assert self._lifeline is not None
        try:
            self._lifeline.send(message)
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
            self._heed(message)

    def _heed(self, message: object) -> None:
        match message:
            case Listening(address):
                self.address = address
                self._deaths, self._waiting_for = 0, ""
                self._log(messages.EXPORTER_LISTENS, address=str(address))
            case Waiting(reason) if reason != self._waiting_for:
                self._waiting_for = reason
                self._log(messages.EXPORTER_WAITS, reason=reason)
            case Fault(text):
                self._log(messages.EXPORTER_BUG, error=text)

    # Its end

    def _bury(self) -> None:
        self._hear(READ)
        self._process.join()
        code = self._process.exitcode
        self._clear()
        self._deaths += 1
        pause = pause_before_birth(self._deaths)
        self._log(messages.EXPORTER_DIED, code=code, pause=pause)
        self._pause = self._loop.after(pause, self.start)

    def _clear(self) -> None:
        assert self._lifeline is not None
        self._loop.unwatch(self._process.sentinel)
        self._loop.unwatch(self._lifeline.socket)
        self._process.join()
        self._process.close()
        self._lifeline.close()
        self._process = self._lifeline = self.address = None

    def stop(self) -> None:
        """Ends it; its address is free when this returns."""
        self._inherit = None
        if self._pause is not None:
            self._pause.cancel()
        if self._process is not None:
            self._process.kill()
            self._clear()
