"""The flight recorder of a worker: whose sessions are to be recorded, and the files that they are written to.

What is traced is an order of the operator's (popular/proxy/settings/tracing.py). A session that may concern one gets a
`Recording`. It keeps what is said, as it is, and makes lines of it (transcript.py) only when it is known that the
session is the one. By the end of the login that is known, and else all is dropped. Files are written in threads, one
piece after the other; each line bears its session's id, for workers write into the same file.
"""

import ipaddress
import os
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from popular.messages import TRACE_NOT_WRITTEN
from popular.net.networks import Network
from popular.proxy.session.transcript import PassedOn, printable
from popular.proxy.settings.tracing import BACKEND, NETWORK, TRACE, USER, VSERV, well_formed
from supervisor.serving.context import WorkerContext
from supervisor.system import wall

_MOST_KEPT = 4096
"""Octets of a session that are kept while nobody knows whether it is to be recorded."""
_MOST_WAITING = 64
"""Things that a session has said, of which lines are made together."""
_PIECE = 1 << 14
"""Characters that are written at a time."""

Lines = Callable[[Any], Iterable[str]]
"""Makes lines of what was kept, if there is need for them."""


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
    waiting: list[str] = field(default_factory=list)
    owed: int = 0
    """Characters that wait, or are being written."""
    is_writing: bool = False
    is_full: bool = False
    """Nothing more is written: it has as much as it may have, or cannot be written."""

    def is_at_work(self) -> bool:
        """Whether something is still to be recorded for it."""
        return not self.is_full and self.until > wall()

    @classmethod
    def ordered(cls, ident: str, value: Mapping[str, Any]) -> "OrderedTrace":
        """By the operator."""
        of, name = value["of"], value["name"]
        return cls(ident, value, of, name=name, until=value["until"], most=value["most"], path=value["file"])


class Recorder:
    """One for each worker."""

    def __init__(self, context: WorkerContext) -> None:
        orders = context.operator.of(TRACE)
        assert isinstance(orders, dict), "orders stand in the order in which they were given"
        self.orders = orders
        """Empty as long as nobody is traced: that is all a session then looks at."""
        self._context = context
        self._known: tuple[int, str, object] = (0, "", None)
        self._traces: dict[str, OrderedTrace] = {}
        self._by_name: dict[tuple[str, str], list[OrderedTrace]] = {}
        self._networks: list[tuple[Network, OrderedTrace]] = []
        self._until = self._late_until = 0.0
        """The end of all traces; and of those by user or backend, which a session tells only later."""

    def recording(self, vserv: str, address: str | None) -> "Recording | None":
        """For a new session; None if no trace can concern it. `address`: None if that is not known yet."""
        now = wall()
        self._look()
        if now >= self._until:
            return None
        recording = Recording(self)
        recording.matches(self.named(VSERV, vserv))
        if address is not None and self._networks:
            recording.comes_from(address)
        waits = now < self._late_until or (address is None and bool(self._networks))
        return recording if recording.matched or waits else None

    def named(self, of: str, name: str) -> list[OrderedTrace]:
        """Whom a user, a backend or a virtual server of this name concerns now."""
        found = self._by_name.get((of, name))
        return [trace for trace in found if trace.is_at_work()] if found else _NOBODY

    def around(self, address: str) -> list[OrderedTrace]:
        """Traces that concern a client of this address now."""
        if not self._networks:
            return _NOBODY
        parsed = ipaddress.ip_address(address.partition("%")[0])
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return [trace for network, trace in self._networks if parsed in network and trace.is_at_work()]

    def _look(self) -> None:
        """Whether there is a change: in how many there are, or in the last one. (An id may be used again, by the next
        one behind a trace that nobody came for; that is then the last.)
        """
        last = next(reversed(self.orders), "")
        now = (len(self.orders), last, self.orders.get(last))
        if now[:2] == self._known[:2] and now[2] is self._known[2]:
            return
        self._known = now
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
        self._networks = [(ipaddress.ip_network(trace.name), trace) for trace in traces if trace.of == NETWORK]
        self._until = max((trace.until for trace in traces), default=0.0)
        self._late_until = max((trace.until for trace in traces if trace.of in (USER, BACKEND)), default=0.0)

    def goes_on(self, trace: OrderedTrace) -> bool:
        """Whether it was not stopped, and its time is not over."""
        return self.orders.get(trace.ident) == trace.order and wall() < trace.until

    def count(self) -> None:
        """One session more is recorded."""
        self._context.count("sessions_recorded")

    def write(self, trace: OrderedTrace, text: str) -> None:
        """Adds to its file, in a thread; one piece behind the other. What has no room there never waits for it."""
        is_another = self.orders.get(trace.ident, trace.order) != trace.order
        if trace.is_full or is_another or trace.owed > trace.most:
            return
        trace.owed += len(text)
        trace.waiting.append(text)
        if not trace.is_writing:
            trace.is_writing = True
            self._send(trace)

    def _send(self, trace: OrderedTrace) -> None:
        text, trace.waiting = "".join(trace.waiting), []
        written = self._context.loop.run_in_executor(self._context.pool, append, trace.path, text, trace.most)
        written.add_done_callback(lambda done: self._written(trace, len(text), done))

    def _written(self, trace: OrderedTrace, length: int, done: "Future[bool]") -> None:
        trace.owed -= length
        error = done.exception()
        if error is not None:
            reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
            self._context.log(TRACE_NOT_WRITTEN, "-", file=trace.path, reason=reason)
        trace.is_full = trace.is_full or error is not None or done.result()
        if trace.is_full:
            trace.waiting.clear()
        trace.is_writing = bool(trace.waiting)
        if trace.is_writing:
            self._send(trace)


def append(path: str, text: str, most: int) -> bool:
    """Writes whole lines behind what is there, for nobody else to read. Says whether it is full. Raises OSError."""
    octets = text.encode("utf-8", "replace")
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        room = max(0, most - os.fstat(fd).st_size)
        fits = octets if len(octets) <= room else octets[: octets.rfind(b"\n", 0, room) + 1]
        return os.write(fd, fits) < len(octets)
    finally:
        os.close(fd)


_NOBODY: list[OrderedTrace] = []


def _told(said: tuple[str, tuple[object, ...]]) -> Iterator[str]:
    text, facts = said
    yield printable(text % facts)


def _logged(entry: tuple[str, Mapping[str, object]]) -> Iterator[str]:
    name, fields = entry
    yield printable(" ".join([name, *(f"{field}={value!r}" for field, value in fields.items() if value != "")]))


def _as_it_is(line: str) -> Iterator[str]:
    yield line


class Recording:
    """What one session has said so far, and for which traces."""

    __slots__ = (
        "_began",
        "_kept",
        "_left_out",
        "_length",
        "_octets",
        "_passed",
        "_recorder",
        "_text",
        "matched",
        "sid",
    )

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.matched: list[OrderedTrace] = []
        self.sid = ""
        self._began = monotonic()
        self._kept: list[tuple[float, str, Lines, Any]] = []
        self._octets = 0
        self._left_out = 0
        self._text: list[str] = []
        self._length = 0
        self._passed: PassedOn | None = None

    # Whose it is

    def comes_from(self, address: str) -> None:
        """Its client's address."""
        self.matches(self._recorder.around(address))

    def asks_for(self, user: str) -> None:
        """Who wants to log in."""
        self.matches(self._recorder.named(USER, user))

    def goes_to(self, backend: str) -> None:
        """The backend of his mailbox."""
        self.matches(self._recorder.named(BACKEND, backend))

    def matches(self, traces: list[OrderedTrace]) -> None:
        """It concerns these."""
        if not traces:
            return
        found = [trace for trace in traces if trace not in self.matched]
        if not found:
            return
        if self.matched:
            self.flush()
            self.matched += found
        else:
            self.matched = found
            self._release()
            self._recorder.count()

    # What is said

    def keep(self, leg: str, lines: Lines, said: bytes) -> None:
        """One thing more. Lines are only made of it when somebody wants to read them."""
        self._keep(leg, lines, said, octets=len(said))

    def tell(self, text: str, *facts: object) -> None:
        """What has happened, to be put together by `%`."""
        self._keep("--", _told, (text, facts), octets=len(text))

    def log(self, name: str, fields: Mapping[str, object]) -> None:
        """An entry of the log."""
        self._keep("--", _logged, (name, fields), octets=200)

    def _keep(self, leg: str, lines: Lines, said: Any, *, octets: int) -> None:
        if self.matched and not all(map(self._recorder.goes_on, self.matched)):
            self.flush()
            self.matched = list(filter(self._recorder.goes_on, self.matched))
        self._octets += octets + 16
        if self.matched or self._octets <= _MOST_KEPT:
            self._kept.append((monotonic() - self._began, leg, lines, said))
            if self.matched and len(self._kept) >= _MOST_WAITING:
                self._release()
        else:
            self._left_out += 1

    def _release(self) -> None:
        """What was kept becomes lines: somebody wants them."""
        kept, self._kept = self._kept, []
        for moment, leg, lines, said in kept:
            for line in lines(said):
                self._put(moment, leg, line)
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._put(0.0, "--", f"{left_out} more before this: too much to be kept")

    def _put(self, moment: float, leg: str, line: str) -> None:
        self._text.append(f"{self.sid} {moment:+.6f} {leg} {line}\n")
        self._length += len(self._text[-1])
        if self._length >= _PIECE:
            self._write()

    def flush(self) -> None:
        """What there is goes into the files."""
        if self.matched:
            self._release()
            self._write()

    def _write(self) -> None:
        text = "".join(self._text)
        self._text, self._length = [], 0
        if text:
            for trace in self.matched:
                self._recorder.write(trace, text)

    # The relay

    def decide(self) -> None:
        """The login is over: now it is known whose session it is, and if it is nobody's nothing is kept any more."""
        if not self.matched:
            self._kept, self._octets = [], _MOST_KEPT

    def listens(self) -> bool:
        """Whether what is passed on is to be heard."""
        if not self.matched:
            return False
        self._passed = PassedOn()
        return True

    def client_says(self, data: bytes) -> None:
        """Passed on to the backend."""
        assert self._passed is not None
        self._pass(self._passed.client_says(data))

    def backend_says(self, data: bytes) -> None:
        """Passed on to the client."""
        assert self._passed is not None
        self._pass(self._passed.backend_says(data))

    def _pass(self, lines: list[tuple[str, str]]) -> None:
        for leg, line in lines:
            self._keep(leg, _as_it_is, line, octets=len(line))

    def end(self, ending: str) -> None:
        """The session is over."""
        if self.matched:
            if self._passed is not None:
                self._pass(self._passed.rest())
            self.tell("the end: %s", ending)
            self.flush()
