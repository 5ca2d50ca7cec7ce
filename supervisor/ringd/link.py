"""One end of a connection between ringd and a holder: packets and descriptors in and out, never blocking.

Descriptors that come in are wrapped as sockets at once; what is no socket is a fault. What goes out waits in a queue
while the other side does not read; a side that does not read at all is given up.
"""

import array
import socket
from collections import deque
from collections.abc import Callable, Sequence

from supervisor.ringd.wire import LONGEST_PACKET, MOST_FDS, Message, WireFault, decode, encode
from supervisor.runtime.loop import READ, WRITE, Loop
from supervisor.sockets.sources import duplicate

_MOST_QUEUED = 256
_MOST_AT_ONCE = 64
"""Packets read before others have their turn."""

Heard = Callable[[Message, int, list[socket.socket]], None]
"""A message, its sequence number, and its sockets, which are the callee's to close. May raise WireFault."""


class Link:
    """A connected SOCK_SEQPACKET socket on a loop.

    `lost(fault)` is called once, unless it is closed here; the fault is empty when the other side has just gone.
    """

    def __init__(self, loop: Loop, end: socket.socket, heard: Heard, *, lost: Callable[[str], None]) -> None:
        end.setblocking(False)
        self._loop = loop
        self._end = end
        self._heard = heard
        self._lost = lost
        self._out: deque[tuple[bytes, list[socket.socket]]] = deque()
        self.closed = False
        self._watch()

    def _watch(self) -> None:
        self._loop.watch(self._end, READ | WRITE if self._out else READ, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ:
            for _ in range(_MOST_AT_ONCE):
                if self.closed or not self._receive():
                    break

    def send(self, message: Message, sequence: int = 0, sockets: Sequence[socket.socket] = ()) -> None:
        """Sends a message, now or when the other side reads. At most MOST_FDS sockets, which are copied."""
        assert len(sockets) <= MOST_FDS
        if self.closed:
            return
        # Copies, because the original may be closed, and its number be another file's, before the packet is sent.
        try:
            copies = _copied(sockets)
        except OSError as error:
            self._fail(f"a socket cannot be copied: {error.strerror}")
            return
        self._out.append((encode(message, sequence), copies))
        self._flush()
        if not self.closed:
            self._watch()
        if len(self._out) > _MOST_QUEUED:
            self._fail("the other side does not read")

    def _flush(self) -> None:
        while self._out and not self.closed:
            packet, sockets = self._out[0]
            fds = array.array("i", [one.fileno() for one in sockets])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else []
            try:
                self._end.sendmsg([packet], rights)
            except BlockingIOError:
                return
            except OSError:
                self._fail("")
                return
            self._out.popleft()
            _close(sockets)
        if not self.closed:
            self._watch()

    def _receive(self) -> bool:
        """One packet; says whether there was one."""
        try:
            packet, ancillary, flags, _address = self._end.recvmsg(
                LONGEST_PACKET, socket.CMSG_SPACE(4 * MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError:
            self._fail("")
            return False
        fds = array.array("i")
        for level, kind, raw in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(raw[: len(raw) // fds.itemsize * fds.itemsize])
        try:
            sockets = _wrapped(list(fds))
            if not packet:
                _close(sockets)
                self._fail("")
                return False
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                _close(sockets)
                raise WireFault("a packet that is too long")
            self._hear(packet, sockets)
        except WireFault as fault:
            self._fail(str(fault))
            return False
        return True

    def _hear(self, packet: bytes, sockets: list[socket.socket]) -> None:
        try:
            message, sequence = decode(packet)
        except WireFault:
            _close(sockets)
            raise
        self._heard(message, sequence, sockets)

    def _fail(self, reason: str) -> None:
        if not self.closed:
            self.close()
            self._lost(reason)

    def close(self) -> None:
        """Closes it, and drops what was not sent."""
        self.closed = True
        self._loop.unwatch(self._end)
        self._end.close()
        while self._out:
            _close(self._out.popleft()[1])


def require_room(sockets: Sequence[socket.socket]) -> None:
    """Copies them all for a moment: raises OSError if so many descriptors more cannot be had."""
    _close(_copied(sockets))


def _copied(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    copies: list[socket.socket] = []
    try:
        for one in sockets:
            copies.append(duplicate(one))
    except OSError:
        _close(copies)
        raise
    return copies


def _wrapped(fds: list[int]) -> list[socket.socket]:
    """Sockets for descriptors; all are closed if one is none. Raises WireFault."""
    sockets = []
    while fds:
        try:
            sockets.append(socket.socket(fileno=fds[-1]))
        except OSError:
            _close(sockets)
            for fd in fds:
                socket.close(fd)
            raise WireFault("a descriptor that is no socket") from None
        fds.pop()
    return sockets[::-1]


def _close(sockets: Sequence[socket.socket]) -> None:
    for one in sockets:
        one.close()
