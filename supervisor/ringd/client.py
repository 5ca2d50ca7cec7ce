"""Listening sockets lent by ringd: a `Source` that never blocks.

It keeps a copy of every socket that it was lent, and comes back by itself when ringd was restarted: then it gives these
copies to the new ringd. While there is no ringd what is open goes on, and what would have to be opened is refused.
When the program ends, in whatever way, the connection ends, and ringd keeps the sockets for the next one. Only what the
configuration does not want any more is given up.
"""

import errno
import itertools
import os
import socket
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from supervisor.ringd import wire as ringwire
from supervisor.ringd.link import Link
from supervisor.ringd.wire import Claim, Denied, Granted, Quiet, Release, Restore, WireFault
from supervisor.runtime import messages
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop, Timer
from supervisor.sockets.listener import Address, Listener, ListenerCopy
from supervisor.sockets.sources import Opened, deal, duplicate, explain

ANSWER_SECONDS = 5.0
FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 2.0
_LEAST_SECONDS = 0.01
STEADY_SECONDS = 1.0
"""A connection that has lasted so long is a good one."""


class _LentSockets:
    """The sockets of one address: our copies by inode number, and which copies use which."""

    def __init__(self, backlog: int) -> None:
        self.backlog = backlog
        self.sockets: dict[int, socket.socket] = {}
        self.lent: dict[ListenerCopy, list[int]] = {}

    def used(self, but: Iterable[ListenerCopy] = ()) -> set[int]:
        return {name for copy, names in self.lent.items() if copy not in but for name in names}

    def add(self, sockets: Iterable[socket.socket]) -> list[int]:
        names = []
        for one in sockets:
            name = os.fstat(one.fileno()).st_ino
            if self.sockets.setdefault(name, one) is not one:
                one.close()
            names.append(name)
        return names

    def lend(self, copies: Sequence[ListenerCopy]) -> dict[ListenerCopy, list[socket.socket]]:
        """Copies for each copy: of what nobody uses yet, or, where all are in use, of those in use."""
        used = self.used()
        free = [name for name in self.sockets if name not in used]
        self.lent |= dict(zip(copies, deal(free or list(self.sockets), len(copies)), strict=True))
        return {copy: [duplicate(self.sockets[name]) for name in self.lent[copy]] for copy in copies}

    def drop(self, names: Iterable[int]) -> None:
        for name in names:
            self.sockets.pop(name).close()


def absent(path: Path, reason: str) -> str:
    """What people are told who need a ringd that is not there."""
    return f"ringd at {path} is not there: {reason}; start it, or remove the file, or say --ringd off"


def why_unserved(path: Path) -> str:
    """Why nobody serves a socket, or nothing; a ringd that is busy, or that we may not ask, is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(str(path))
    return os.strerror(result) if result in (errno.ECONNREFUSED, errno.ENOENT) else ""


def answers(path: Path, seconds: float) -> bool:
    """Whether the ringd at a socket turns its loop: it sees that we hang up, and does so, too. That a connection is
    made is the kernel's doing, also for one that was stopped.
    """
    limit = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(seconds)
        try:
            probe.connect(str(path))
            probe.shutdown(socket.SHUT_WR)
            probe.settimeout(max(limit - time.monotonic(), _LEAST_SECONDS))
            probe.recv(1)
        except OSError as error:
            return not isinstance(error, TimeoutError | BlockingIOError)
    return True


class _Opening:
    """An `open` that waits for answers, one for each address."""

    def __init__(self, copies: Sequence[ListenerCopy], backlog: int, opened: Opened) -> None:
        self.copies = copies
        self.backlog = backlog
        self.opened = opened
        self.waiting: dict[int, Address] = {}
        self.came: dict[Address, list[socket.socket]] = {}
        self.limit: Timer | None = None

    def of(self, address: Address) -> list[ListenerCopy]:
        return [copy for copy in self.copies if Address.of(copy[0]) == address]


class Ring:
    """The sockets that ringd lends: a `Source`, where each method is explained."""

    shared = True

    def __init__(self, path: Path, log: Log, program: str) -> None:
        """`path`: ringd's socket. It need not be there yet. `program`: who asks."""
        self._path = path
        self._program = program
        self._log = log
        self._loop: Loop
        self._link: Link | None = None
        self._why_not = ""
        self._over = False
        self._lost_told = False
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._timer: Timer | None = None
        self._sequence = itertools.count(1)
        self._groups: dict[Address, _LentSockets] = {}
        self._openings: list[_Opening] = []

    # The connection

    def attach(self, loop: Loop) -> None:
        """Connects, or goes on trying."""
        self._loop = loop
        self._connect()

    def _connect(self) -> None:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            end.bind(ringwire.name_of_end(self._program))
            end.connect(str(self._path))
        except OSError as error:
            end.close()
            self._lost(error.strerror or "it cannot be reached")
            return
        self._log.debug("RINGD", "connected", path=self._path)
        self._link = Link(self._loop, end, self._hear, lost=self._lost)
        self._timer = self._loop.after(STEADY_SECONDS, self._is_steady)
        for address, group in self._groups.items():
            self._restore(address, group)

    def _restore(self, address: Address, group: _LentSockets) -> None:
        sockets = list(group.sockets.values())
        while sockets and self._link is not None:
            batch, sockets = sockets[: ringwire.MOST_FDS], sockets[ringwire.MOST_FDS :]
            self._link.send(Restore(address, group.backlog), next(self._sequence), batch)
            self._log.debug("RINGD", "restore", address=address.address, sockets=len(batch))

    def _is_steady(self) -> None:
        self._retry_seconds = FIRST_RETRY_SECONDS
        if self._lost_told:
            self._lost_told = False
            self._log(messages.RINGD_BACK, path=self._path)

    def _lost(self, reason: str) -> None:
        """There is no ringd, or no more: what was claimed is refused, and it is tried again."""
        self._link = None
        self._why_not = reason or self._why_not or "it has closed the connection"
        if self._timer is not None:
            self._timer.cancel()
        if not self._lost_told:
            self._lost_told = True
            self._log(messages.RINGD_LOST, path=self._path, reason=self._why_not)
        for opening in list(self._openings):
            self._refuse(opening, self._absent())
        if not self._over:
            self._timer = self._loop.after(self._retry_seconds, self._connect)
            self._retry_seconds = min(2 * self._retry_seconds, LONGEST_RETRY_SECONDS)

    def _absent(self) -> str:
        return absent(self._path, self._why_not)

    def let_go(self) -> None:
        """See Source: ends the connection, so that ringd knows."""
        self._over = True
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._timer is not None:
            self._timer.cancel()
        for group in self._groups.values():
            group.drop(list(group.sockets))
        self._groups = {}

    # Opening

    def open(self, copies: Sequence[ListenerCopy], backlog: int, opened: Opened) -> None:
        """See Source. Refused while there is no ringd, or when it does not answer within ANSWER_SECONDS."""
        unsendable = next((copy[0] for copy in copies if not ringwire.is_sendable(Address.of(copy[0]))), None)
        if unsendable is not None:
            opened(None, f"{unsendable.name}: {unsendable.address[0]} cannot be asked of ringd")
            return
        opening = _Opening(copies, backlog, opened)
        self._openings.append(opening)
        if self._link is None:
            self._refuse(opening, self._absent())
            return
        opening.limit = self._loop.after(ANSWER_SECONDS, partial(self._refuse, opening, "ringd does not answer"))
        for address in dict.fromkeys(Address.of(listener) for listener, _slot in copies):
            if opening in self._openings:
                self._claim(opening, address)

    def _claim(self, opening: _Opening, address: Address) -> None:
        known = self._groups.get(address)
        count = len(opening.of(address)) + (len(known.sockets) if known is not None else 0)
        sequence = next(self._sequence)
        opening.waiting[sequence] = address
        self._log.debug("RINGD", "claim", sequence=sequence, address=address.address, count=count)
        assert self._link is not None
        self._link.send(Claim(address, min(count, ringwire.MOST_SOCKETS), opening.backlog), sequence)

    def _hear(self, message: ringwire.Message, sequence: int, sockets: list[socket.socket]) -> None:
        self._log.debug("RINGD", "heard", sequence=sequence, message=message, sockets=len(sockets))
        opening = next((one for one in self._openings if sequence in one.waiting), None)
        match message:
            case Granted(remaining) if sockets:
                if opening is None:  # it was refused meanwhile
                    self._take_late(sockets)
                else:
                    self._take(opening, sequence, sockets, remaining=remaining)
            case Denied(number, text) if not sockets:
                if sequence == 0:
                    self._why_not = text
                elif opening is not None:
                    self._refuse(opening, self._explain(opening, opening.waiting[sequence], number, text=text))
            case _:
                for one in sockets:
                    one.close()
                raise WireFault("ringd sends what only a holder sends")

    def _explain(self, opening: _Opening, address: Address, number: int, *, text: str) -> str:
        listener: Listener = opening.of(address)[0][0]
        return explain(listener, OSError(number, text)) if number else f"{listener.name}: {text}"

    def _take(self, opening: _Opening, sequence: int, sockets: list[socket.socket], *, remaining: int) -> None:
        address = opening.waiting[sequence]
        opening.came.setdefault(address, []).extend(sockets)
        if remaining:
            return
        del opening.waiting[sequence]
        if not opening.waiting:
            self._finish(opening)

    def _finish(self, opening: _Opening) -> None:
        self._end(opening)
        copies: dict[ListenerCopy, list[socket.socket]] = {}
        for address, sockets in opening.came.items():
            group = self._groups.setdefault(address, _LentSockets(opening.backlog))
            group.backlog = opening.backlog
            group.add(sockets)
            copies |= group.lend(opening.of(address))
        opening.opened([copies[copy] for copy in opening.copies], "")

    def _end(self, opening: _Opening) -> None:
        self._openings.remove(opening)
        if opening.limit is not None:
            opening.limit.cancel()

    def _refuse(self, opening: _Opening, reason: str) -> None:
        self._end(opening)
        for sockets in opening.came.values():
            self._take_late(sockets)
        opening.opened(None, reason)

    def _take_late(self, sockets: list[socket.socket]) -> None:
        """Nobody waits for these any more: those that were not ours before are given up."""
        known = {name for group in self._groups.values() for name in group.sockets}
        names = [os.fstat(one.fileno()).st_ino for one in sockets]
        for one in sockets:
            one.close()
        self._say(Release, [name for name in names if name not in known])

    # Giving up

    def silence(self, copies: Sequence[ListenerCopy], sockets: Sequence[socket.socket]) -> None:  # noqa: ARG002
        """See Source; ringd knows whether others hold them."""
        self._say(Quiet, [name for _address, names in self._only(copies) for name in names])

    def give_up(self, copies: Sequence[ListenerCopy]) -> None:
        for address, names in self._only(copies):
            group = self._groups[address]
            group.drop(names)
            for copy in copies:
                group.lent.pop(copy, None)
            self._say(Release, names)
            if not group.sockets:
                del self._groups[address]

    def _only(self, copies: Sequence[ListenerCopy]) -> list[tuple[Address, list[int]]]:
        """What these copies use and no others."""
        found = []
        for address, group in self._groups.items():
            mine = {name for copy in copies for name in group.lent.get(copy, ())}
            found.append((address, sorted(mine - group.used(but=copies))))
        return found

    def _say(self, kind: type[Quiet] | type[Release], names: list[int]) -> None:
        for start in range(0, len(names), ringwire.MOST_NAMES):
            batch = tuple(names[start : start + ringwire.MOST_NAMES])
            self._log.debug("RINGD", kind.__name__.lower(), sockets=len(batch))
            if self._link is not None:
                self._link.send(kind(batch), next(self._sequence))
