"""The flight recorder of a worker: whose sessions are to be recorded, and the files that they are written to.

What is traced is an order of the operator's (popular/proxy/settings/tracing.py). A session that may concern one gets a
`Recording` (recording.py). Files are written in threads, one piece after the other; each line bears its session's id,
for workers write into the same file.
"""

import fcntl
import ipaddress
import os
import stat
from asyncio import Future, wrap_future
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future as WorkOfThread
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from popular.messages import TRACE_FULL, TRACE_NOT_WRITTEN
from popular.net.networks import octets_of, plain
from popular.protocol.printable import printable
from popular.proxy.session.tracing.inforce import TracesInForce, TracesKnown
from popular.proxy.settings.order_sorts import user_key
from popular.proxy.settings.tracing import BACKEND, FULL, HEAD, NETWORK, TRACE, UNWRITTEN, USER, VSERV, well_formed
from supervisor.serving.context import WorkerContext
from supervisor.system import wall


@dataclass(eq=False)
class OrderedTrace:
    """One order, as a worker carries it out."""

    ident: str
    order: Mapping[str, Any]
    of: str
    name: str
    until: float
    most: int
    path: str
    waiting: list[bytes] = field(default_factory=list)
    owed: int = 0
    """Octets that wait, or are being written."""
    is_writing: bool = False
    writing: "WorkOfThread[Written] | None" = None
    """The last piece that was given to a thread."""
    is_full: bool = False
    """Nothing more is written: it has as much as it may have."""
    error: str = ""
    """Why what was to be written last could not be; the next piece is tried all the same."""
    lost: int = 0
    """Octets that could not be written; the file is told when it can be again."""

    def is_at_work(self) -> bool:
        """Whether something is still to be recorded for it."""
        return not self.is_full and self.until > wall()

    def head(self) -> bytes:
        """The first line of its file, by which `trace list` knows whose it was when the order is over."""
        return f"{HEAD}{self.ident}: {self.of} {printable(self.name)}\n".encode("utf-8", "replace")

    def gap(self) -> bytes:
        """A line of its file for what could not be written; nothing where there is no such."""
        said = f"- +0.000000 -- {self.lost:,} octets are missing here: {self.error}\n"
        return said.encode("utf-8", "replace") if self.lost else b""

    @classmethod
    def ordered(cls, ident: str, value: Mapping[str, Any]) -> "OrderedTrace":
        """By the operator."""
        of, name = value["of"], value["name"]
        return cls(
            ident,
            value,
            of,
            name=user_key(value["namespace"], name) if of == USER else name,
            until=value["until"],
            most=value["most"],
            path=value["file"],
        )


_NOBODY: list[OrderedTrace] = []
MOST_OWED = 4 << 20
"""Octets of a trace that may wait for the disk in a worker, where its file has room for more."""
_LONGEST_WAIT_SECONDS = 1.0
"""For a thread, at the end."""


class Written(NamedTuple):
    """What came of a piece: how many octets of it are in the file, how many found no room there, whether it is full,
    and whether it was before.
    """

    octets: int
    left_out: int
    is_full: bool
    was_full: bool


class TracedNetworks:
    """Traces by network, to be found by an address: by one look for each length of their networks, however many."""

    def __init__(self, traces: Sequence[OrderedTrace]) -> None:
        self._lengths: dict[tuple[int, int], dict[int, list[OrderedTrace]]] = {}
        """By the octets of an address and the bits that are not the network's; then by the network's bits."""
        for trace in traces:
            network = plain(ipaddress.ip_network(trace.name))
            rest = network.max_prefixlen - network.prefixlen
            of_length = self._lengths.setdefault((network.max_prefixlen // 8, rest), {})
            of_length.setdefault(int(network.network_address) >> rest, []).append(trace)

    def around(self, address: str) -> Iterator[OrderedTrace]:
        """Whose network the address is in; ::ffff:192.0.2.1 is 192.0.2.1."""
        octets = octets_of(address)
        number, length = int.from_bytes(octets), len(octets)
        for (of_length, rest), traces in self._lengths.items():
            if of_length == length:
                yield from traces.get(number >> rest, ())


class Recorder(TracesKnown):
    """One for each worker."""

    def __init__(self, context: WorkerContext) -> None:
        orders = context.operator.of(TRACE)
        assert isinstance(orders, dict), "orders stand in the order in which they were given"
        self.orders = orders
        self.clock = context.clock
        self._context = context
        self._traces: dict[str, OrderedTrace] = {}
        self._by_name: dict[tuple[str, str], list[OrderedTrace]] = {}
        self._networks = TracedNetworks(())
        self.changed()

    def changed(self) -> None:
        """To be called when the operator has ordered something, or has ended it."""
        known = self._traces
        self._traces = {
            ident: known[ident]
            if ident in known and known[ident].order == value
            else OrderedTrace.ordered(ident, value)
            for ident, value in well_formed(self.orders).items()
        }
        traces = self._traces.values()
        self._by_name = {}
        for trace in traces:
            self._by_name.setdefault((trace.of, trace.name), []).append(trace)
        self._networks = TracedNetworks([trace for trace in traces if trace.of == NETWORK])
        names = {
            of: frozenset(trace.order["name"] for trace in traces if trace.of == of) for of in (USER, BACKEND, VSERV)
        }
        self.in_force = TracesInForce(
            max((trace.until for trace in traces), default=0.0),
            max((trace.until for trace in traces if trace.of in (USER, BACKEND)), default=0.0),
            names[USER],
            backends=names[BACKEND],
            vservs=names[VSERV],
            by_network=any(trace.of == NETWORK for trace in traces),
            clock=self.clock,
        )

    def named(self, of: str, name: str) -> list[OrderedTrace]:
        """Whom a user (NAMESPACE:USER), a backend or a virtual server of this name concerns now."""
        found = self._by_name.get((of, name))
        return [trace for trace in found if trace.is_at_work()] if found else _NOBODY

    def around(self, address: str) -> list[OrderedTrace]:
        """Traces that concern a client of this address now."""
        found = list(self._networks.around(address))
        if not found:
            self.in_force.found_elsewhere(address)
        return [trace for trace in found if trace.is_at_work()]

    def goes_on(self, trace: OrderedTrace) -> bool:
        """Whether it was not stopped, and its time is not over."""
        return self.orders.get(trace.ident) == trace.order and wall() < trace.until

    def count(self) -> None:
        """One session more is recorded."""
        self._context.count("sessions_recorded")

    def write(self, trace: OrderedTrace, text: str) -> None:
        """Adds to its file, in a thread; one piece behind the other. What has no room there never waits for it."""
        is_another = self.orders.get(trace.ident, trace.order) != trace.order
        octets = text.encode("utf-8", "replace")
        if trace.is_full or is_another or trace.owed > min(trace.most, MOST_OWED):
            self._drop(len(octets))
            return
        trace.owed += len(octets)
        trace.waiting.append(octets)
        if not trace.is_writing:
            trace.is_writing = True
            self._send(trace)

    def _drop(self, octets: int) -> None:
        if octets:
            self._context.count("trace_octets", "dropped", amount=octets)

    def _send(self, trace: OrderedTrace) -> None:
        octets, trace.waiting = b"".join(trace.waiting), []
        octets_now = trace.gap() + octets
        trace.writing = self._context.pool.submit(append, trace.path, octets_now, trace.most, head=trace.head())
        written = wrap_future(trace.writing, loop=self._context.loop)
        written.add_done_callback(lambda done: self._written(trace, len(octets), done))

    def _written(self, trace: OrderedTrace, length: int, done: "Future[Written]") -> None:
        trace.owed -= length
        error = done.exception()
        if error is not None:
            reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
            if not trace.error:
                self._context.log(TRACE_NOT_WRITTEN, "-", file=trace.path, reason=reason)
            trace.error = reason
            trace.lost += length
            self._drop(length)
        else:
            trace.error, trace.lost = "", 0
            self._has_written(trace, done.result())
        if trace.is_full:
            self._drop(trace.owed)
            trace.waiting.clear()
            trace.owed = 0
        trace.is_writing = bool(trace.waiting)
        if trace.is_writing:
            self._send(trace)

    def _has_written(self, trace: OrderedTrace, written: Written) -> None:
        if written.octets:
            self._context.count("trace_octets", "written", amount=written.octets)
        self._drop(written.left_out)
        trace.is_full = trace.is_full or written.is_full
        if written.is_full and not written.was_full:
            self._context.count("traces_filled")
            self._context.log(TRACE_FULL, "-", trace=trace.ident, of=trace.of, name=trace.name, octets=trace.most)

    def finish(self) -> None:
        """At the end of the worker: what waits is written, behind what a thread has."""
        for trace in self._traces.values():
            if trace.writing is not None:
                wait([trace.writing], _LONGEST_WAIT_SECONDS)
            if trace.waiting or trace.lost:
                with suppress(OSError):
                    append(trace.path, trace.gap() + b"".join(trace.waiting), trace.most, head=trace.head())


def append(path: str, octets: bytes, most: int, *, head: bytes = b"") -> Written:
    """Writes whole lines behind what is there, or behind `head` if nothing is, for nobody else to read. Raises OSError.

    The mode of a file tells the others who write there, and `trace list`, that it is full (FULL), which is told once,
    or that what was last to be written could not be (UNWRITTEN), of which it then holds nothing. They come one after
    the other (flock), so none has more than its room.
    """
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        octets = octets if status.st_size else head + octets
        room = max(0, most - status.st_size)
        fits = octets if len(octets) <= room else octets[: octets.rfind(b"\n", 0, room) + 1]
        left_out = len(octets) - len(fits)
        try:
            _write_whole(fd, fits, status.st_size)
        except OSError:
            with suppress(OSError):
                os.fchmod(fd, mode | UNWRITTEN)
            raise
        now = (mode & ~UNWRITTEN if fits else mode) | (FULL if left_out else 0)
        if now != mode:
            os.fchmod(fd, now)
        return Written(len(fits), left_out, is_full=left_out > 0, was_full=bool(mode & FULL))
    finally:
        os.close(fd)


def _write_whole(fd: int, octets: bytes, size: int) -> None:
    """All of it behind so many that are there, or nothing."""
    try:
        while octets:
            octets = octets[os.write(fd, octets) :]
    except OSError:
        os.ftruncate(fd, size)
        raise
