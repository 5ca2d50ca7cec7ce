"""The listening sockets: the master owns them, one SO_REUSEPORT socket for each listener and slot, and lends them to
the workers.

Because the master keeps its copy, a worker's death costs no client that waits in the queue: the successor in the slot
accepts from the same socket (measured in the design: 0 of 200 lost, against 82–106 when workers own their sockets).
"""

import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from supervisor.exporterline import Queue
from supervisor.sockets.listener import Listener, ListenerCopy, queue_of
from supervisor.sockets.silence import turn_away
from supervisor.sockets.sources import Source

_MOST_SPARES = 1 << 16
"""So many a copy has at most; what is borrowed from another slot is told apart by numbers beyond."""


class Listeners:
    """All listening sockets, by copy: one each, and the spares that a forerunner with more slots has left."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sockets: dict[ListenerCopy, list[socket.socket]] = {}
        self.deputies: dict[int, int] = {}
        """Vacant slots, each with the slot whose worker accepts for it (vacancies.py)."""

    @property
    def shared(self) -> bool:
        """Whether somebody else may hold, and accept from, the same sockets."""
        return self._source.shared

    def missing(self, wanted: Sequence[Listener], slots: int) -> list[ListenerCopy]:
        """The copies of a configuration that have no sockets yet."""
        copies = ((listener, slot) for listener in wanted for slot in range(slots))
        return [copy for copy in copies if copy not in self._sockets]

    def ports(self) -> set[int]:
        """The ports at which somebody may be waiting in a queue of ours."""
        return {listener.address[1] for listener, _slot in self._sockets}

    def copies(self, of: Sequence[Listener] | None = None) -> list[ListenerCopy]:
        """All copies that have sockets, or those of certain listeners."""
        return [copy for copy in self._sockets if of is None or copy[0] in of]

    def surplus(self, wanted: Sequence[Listener], slots: int) -> list[ListenerCopy]:
        """The copies that have sockets and that a configuration does not want."""
        return [copy for copy in self._sockets if copy[0] not in wanted or copy[1] >= slots]

    def open(self, copies: Sequence[ListenerCopy], backlog: int, done: Callable[[str | None], None]) -> None:
        """Opens all of them or none; `done(None)` or `done(reason)`, now or later."""
        if not copies:
            done(None)
            return

        def opened(sockets: list[list[socket.socket]] | None, reason: str) -> None:
            if sockets is not None:
                self._sockets |= dict(zip(copies, sockets, strict=True))
            done(None if sockets is not None else reason)

        self._source.open(copies, backlog, opened)

    def of_slot(self, slot: int, among: Iterable[ListenerCopy] | None = None) -> dict[Listener, socket.socket]:
        """What the worker in a slot is lent: everything, or what is among these copies; with what he accepts for a
        vacant slot.
        """
        lent: dict[Listener, socket.socket] = {}
        for copy in self._sockets if among is None else among:
            if slot in (copy[1], self.deputies.get(copy[1])):
                lent |= self._lent(copy, borrowed=copy[1] != slot)
        return lent

    def borrowed_from(self, slot: int, among: Iterable[ListenerCopy]) -> dict[Listener, socket.socket]:
        """What the deputy of a vacant slot has of it."""
        lent: dict[Listener, socket.socket] = {}
        for copy in among:
            if copy[1] == slot:
                lent |= self._lent(copy, borrowed=True)
        return lent

    def _lent(self, copy: ListenerCopy, *, borrowed: bool) -> dict[Listener, socket.socket]:
        listener, slot = copy
        first = (slot + 1) * _MOST_SPARES if borrowed else 0
        return {listener._replace(spare=spare): one for spare, one in enumerate(self._sockets[copy], first)}

    def silence(self, copies: Sequence[ListenerCopy]) -> None:
        """No new connection is begun on these; what has begun goes on. Sockets that others hold too are left alone."""
        self._source.silence(copies, self._of(copies))

    def silence_all(self) -> None:
        """The program ends: like `silence`, for every socket, unless they outlive it."""
        if not self._source.shared:
            self.silence(self.copies())

    def close(self, copies: Sequence[ListenerCopy]) -> None:
        """Closes the master's own sockets of these listeners and slots, which the configuration does not want any more.

        At the end of the program some may be let go of already.
        """
        held = [copy for copy in copies if copy in self._sockets]
        for copy in held:
            for one in self._sockets.pop(copy):
                one.close()
        self._source.give_up(held)

    def let_go(self) -> None:
        """Closes all sockets that the master has; whoever lent them may keep theirs for the next master."""
        for one in self._of(self._sockets):
            one.close()
        self._sockets = {}
        self._source.let_go()

    def turn_away(self) -> Counter[str]:
        """Sends away who waits in the silenced queues, of the sockets that end with this program; how many, by name."""
        told = Counter[str]()
        if not self._source.shared:
            for (listener, _slot), sockets in self._sockets.items():
                told[listener.name] += sum(map(turn_away, sockets))
        return +told

    def queues(self) -> tuple[Queue, ...]:
        """Who waits where."""
        found = []
        for (listener, slot), sockets in self._sockets.items():
            length, limit = (sum(numbers) for numbers in zip(*map(queue_of, sockets), strict=True))
            found.append(Queue(listener.name, slot, length, limit=limit))
        return tuple(found)

    def _of(self, copies: Iterable[ListenerCopy]) -> list[socket.socket]:
        return [one for copy in copies for one in self._sockets[copy]]
