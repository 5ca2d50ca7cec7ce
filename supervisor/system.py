"""What a worker does for every octet: waits for events, receives, sends, accepts, connects; rows and lines as octets.

`system.pyx` says the same once more, compiled, straight to the kernel. Nothing here decides anything.
"""

import errno
import os
import select
import socket
import struct
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeAlias
from zlib import crc32

IP_MINTTL = 21
IPV6_MINHOPCOUNT = 73
"""ip(7), ipv6(7); not in the socket module. Fewer hops than this, and a packet is not heard."""
_STREAM = int(socket.SOCK_STREAM)
_IPV4_PEER = 2
"""What an address of that family consists of: host and port."""
_BIND_ADDRESS_NO_PORT = 24
"""IP_BIND_ADDRESS_NO_PORT, which has no name in Python: connect chooses the port, so each backend has all of them."""
_NEW_STREAM = int(socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
_CHECKSUM_OCTETS = 8
_MOST_EVENTS = 64
"""At a time; more would have the kernel's answer allocated the slow way, at each wait."""


class EventTaker:
    """Watches descriptors by a method, which costs nothing but its call."""

    __slots__ = ()

    def ready(self, fd: int, events: int) -> None:
        """These events have come."""
        raise NotImplementedError

    def turn_over(self) -> None:
        """All who had events have had them, see Poller.later. Must not raise."""
        raise NotImplementedError


Watcher: TypeAlias = EventTaker | Callable[[int], object]
"""Is given the events that have come: READ, WRITE, and whatever else epoll reports of a broken connection."""


class Clock:
    """What a session needs to know of the time: when the loop last woke. Reading it costs no call."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = time.monotonic()
        """Seconds of the monotonic clock; behind it by as much as the watchers of this waking took, up to now."""


class Poller:
    """The epoll set, and who is called for which descriptor."""

    __slots__ = ("_epoll", "_late", "_watchers", "clock", "interrupted")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._late: list[EventTaker] = []
        self.clock = Clock()
        self.interrupted = False
        """Somebody has something else to do: `run` returns."""

    def watch(self, fd: int, events: int, watcher: Watcher) -> None:
        """Calls `watcher` whenever the descriptor is ready for `events` (READ, WRITE or both) or broken."""
        self._watchers[fd] = watcher
        self._epoll.register(fd, events)

    def rewatch(self, fd: int, events: int) -> None:
        """Waits for other events of a watched descriptor."""
        self._epoll.modify(fd, events)

    def redirect(self, fd: int, watcher: Watcher) -> None:
        """Calls another function from now on."""
        self._watchers[fd] = watcher

    def unwatch(self, fd: int) -> None:
        """Ends the watching of a descriptor that stays open. One that was closed before is fine."""
        self.forget(fd)
        try:
            self._epoll.unregister(fd)
        except OSError:  # the kernel has forgotten it already
            pass

    def forget(self, fd: int) -> None:
        """Ends the watching of a descriptor that is closed next: closing takes it out of the kernel's set."""
        self._watchers.pop(fd, None)

    def later(self, taker: EventTaker) -> None:
        """Calls its `turn_over` when all who have events now have had them, in front of the next wait.

        What is sent then leaves in one go: whoever waits for it is woken once, and does not take our place each time.
        """
        self._late.append(taker)

    def _end_turn(self) -> None:
        while self._late:
            late, self._late = self._late, []
            for taker in late:
                taker.turn_over()

    def run(self, timeout: float) -> None:
        """Calls watchers until the time has passed, or somebody has interrupted."""
        self.interrupted = False
        self._end_turn()
        if self.interrupted:
            timeout = 0.0
        watcher_of, poll, clock, monotonic = self._watchers.get, self._epoll.poll, self.clock, time.monotonic
        deadline = monotonic() + timeout
        while True:
            happened = poll(timeout, _MOST_EVENTS)
            clock.now = now = monotonic()
            for fd, events in happened:
                watcher = watcher_of(fd, _nobody)
                if isinstance(watcher, EventTaker):
                    watcher.ready(fd, events)
                else:
                    watcher(events)
            self._end_turn()
            timeout = deadline - now
            if self.interrupted or timeout <= 0:
                return

    def fileno(self) -> int:
        """The set's own descriptor."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Gives the set back."""
        self._epoll.close()


def _nobody(_events: int) -> None:
    """Watches what an earlier watcher of the same waking has closed."""


# Connections. Sockets are descriptors here: os.read and os.write do the same as `recv` and `send` of a socket object,
# and each saves 0.15 µs of a session that has twenty of them.


def receive(fd: int, most: int) -> bytes | None:
    """What has come, b"" at the end of the stream, None if nothing is there now. Raises OSError."""
    try:
        return os.read(fd, most)
    except BlockingIOError:
        return None


def send(fd: int, data: bytes | memoryview) -> int:
    """How many octets were taken; 0 if none can be now. Raises OSError."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0


def send_last(fd: int, data: bytes) -> int:
    """Like `send`, for what the end follows: the kernel keeps it for a moment, so that both leave in one packet."""
    connection = socket.SocketType(socket.AF_INET, _STREAM, 0, fd)
    try:
        return connection.send(data, socket.MSG_MORE)
    except BlockingIOError:
        return 0
    finally:
        connection.detach()


def give_number(fd: int, number: int) -> None:
    """Writes four octets, the lowest first, into a pipe that has room for them. Raises OSError."""
    os.write(fd, number.to_bytes(4, "little"))


def end_sending(fd: int) -> None:
    """Tells the other side that nothing more comes; it can be read on. Raises OSError."""
    connection = socket.SocketType(socket.AF_INET, _STREAM, 0, fd)
    try:
        connection.shutdown(socket.SHUT_WR)
    finally:
        connection.detach()


def close(fd: int) -> None:
    """Closes it."""
    os.close(fd)


def accept(listening: int) -> tuple[int, str, int]:
    """A connection, non-blocking, with the client's address and port. Raises OSError.

    One that was half open when its listening socket was silenced (silence.py) has inherited the deafness: it hears
    again. Beneath the socket's own `accept`, which looks up two enums each time (1.3 of 4.6 µs).
    """
    known = socket.SocketType(socket.AF_INET6, _STREAM, 0, listening)  # of either family: there is room for its peer
    try:
        fd, peer = known._accept()  # type: ignore[attr-defined]
    finally:
        known.detach()
    family = int(socket.AF_INET if len(peer) == _IPV4_PEER else socket.AF_INET6)
    connection = socket.SocketType(family, _STREAM, 0, fd)
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 0)
    if family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, 0)
    return connection.detach(), peer[0], peer[1]


def dial(address: str, port: int, source: str = "") -> int:
    """A connection under way, non-blocking, without Nagle's delays; from the address `source`, if there is one. Raises
    OSError.

    The plain type below socket.socket, without makefile and enums, saves 0.4 µs; to get the number of the error that
    always comes (in progress) without its exception, as much again.
    """
    connection = socket.SocketType(socket.AF_INET6 if ":" in address else socket.AF_INET, _NEW_STREAM)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        number = connection.connect_ex((address, port))
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))
    except OSError:
        connection.close()
        raise
    return connection.detach()


def wall() -> float:
    """Seconds since 1970."""
    return time.time()


def monotonic() -> float:
    """Seconds of the monotonic clock."""
    return time.monotonic()


# Shared memory. An addition there is two steps: it is for one thread, and each cell has one process that writes it.


class Shared:
    """A piece of shared memory: numbers of eight octets each, by their place, and octets."""

    __slots__ = ("_map", "_numbers")

    def __init__(self, memory: memoryview) -> None:
        """`memory`: of the form "B", and as many octets as make whole numbers; or a cast of it to numbers ("Q")."""
        self._map = memory.cast("B")
        self._numbers = self._map.cast("Q")

    def read(self, cell: int) -> int:
        """The number there."""
        return self._numbers[cell]

    def write(self, cell: int, number: int) -> None:
        """Replaces it."""
        self._numbers[cell] = number

    def add(self, cell: int, amount: int) -> None:
        """Adds to it."""
        self._numbers[cell] += amount

    def total(self, first: int, step: int, end: int) -> int:
        """What these come to: the first, and one after each step up to the end."""
        return sum(self._numbers[first:end:step])

    def fill(self, cell: int, fd: int) -> bool:
        """Reads four octets from a pipe straight into the lower half of a number. False if there are none now."""
        try:
            os.readv(fd, [self._map[8 * cell : 8 * cell + 4]])
        except BlockingIOError:
            return False
        return True

    def put(self, at: int, octets: bytes) -> None:
        """Octets, in one piece."""
        self._map[at : at + len(octets)] = octets


class Packer:
    """Makes a row's octets from its columns: numbers, and text that is cut to its width, or filled up.

    In front of them stand their checksum, the number of the row + 1, and a serial number: nanoseconds of the monotonic
    clock.
    """

    __slots__ = ("_draft_at", "_pack", "_shared")

    def __init__(self, form: str, shared: Shared, draft_at: int) -> None:
        """`form`: serial number and columns, as the struct module has it. `draft_at`: where each row is written first,
        so that it is whole there while it is not in its place.
        """
        self._pack = struct.Struct(form).pack
        self._shared = shared
        self._draft_at = draft_at

    def put(self, at: int, row: int, values: tuple[object, ...]) -> None:
        """Writes one row, in one piece. Text is octets, or a string, of which its UTF-8 is taken."""
        octets = [value.encode() if isinstance(value, str) else value for value in values]
        checked = self._pack(time.monotonic_ns(), *octets)
        cell = (crc32(checked) | (row + 1) << 32).to_bytes(_CHECKSUM_OCTETS, "little") + checked
        self._shared.put(self._draft_at, cell)
        self._shared.put(at, cell)


class Observer:
    """Counts durations: each in its bucket, and all in a sum."""

    __slots__ = ("_bounds", "_event", "_first", "_numbers", "_sum")

    def __init__(self, shared: Shared, first: int, *, bounds: Sequence[int], event: int) -> None:
        """`first`: cell of the first bucket; `bounds`: microseconds; `event`: a cell that counts each too, or -1."""
        self._numbers = shared._numbers
        self._first = first
        self._bounds = tuple(bounds)
        self._sum = first + len(bounds) + 1
        self._event = event

    def observe(self, seconds: float) -> None:
        """One more."""
        numbers = self._numbers
        microseconds = int(seconds * 1e6 + 0.5)
        numbers[self._first + bisect_left(self._bounds, microseconds)] += 1
        numbers[self._sum] += microseconds
        if self._event >= 0:
            numbers[self._event] += 1
