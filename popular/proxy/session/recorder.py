"""The flight recorder of a worker: whose sessions are to be recorded, and the files that they are written to.

What is traced is an order of the operator's (popular/proxy/settings/tracing.py). A session that may concern one gets a
`Recording`. It keeps what is said, as it is, and makes lines of it (transcript.py) only when it is known that the
session is the one. By the end of the login that is known, and else all is dropped. Files are written in threads, one
piece after the other; each line bears its session's id, for workers write into the same file.
"""

import ipaddress
import os
import time
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from popular.messages import TRACE_NOT_WRITTEN
from popular.net.networks import Network
from popular.proxy.session.transcript import PassedOn, printable
from popular.proxy.settings.tracing import BACKEND, NETWORK, TRACE, USER, VSERV, well_formed
from supervisor.serving.context import WorkerContext
from supervisor.system import wall

_MOST_KEPT = 4096
"""Octets of a session that are kept while nobody knows whether it is to be recorded."""
_PIECE = 1 << 14
"""Characters that are written at a time."""

Lines = Callable[[], Iterable[str]]
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

    @classmethod
    def ordered(cls, ident: str, value: Mapping[str, Any]) -> "OrderedTrace":
        """By the operator."""
        of, name = value["of"], value["name"]
        return cls(ident, value, of, name=name, until=value["until"], most=value["most"], path=value["file"])


class Recorder:
    """One for each worker."""

    def __init__(self, context: WorkerContext) -> None:
        self.orders = context.operator.of(TRACE)
        """Empty as long as nobody is traced: that is all a session then looks at."""
        self._context = context
        self._known: dict[str, Mapping[str, Any]] = {}
        self._traces: dict[str, OrderedTrace] = {}
        self._until = 0.0

    def recording(self, vserv: str, address: str | None) -> "Recording | None":
        """For a new session; None if no trace can concern it. `address`: None if that is not known yet."""
        now = wall()
        self._look()
        if now >= self._until:
            return None
        living = [trace for trace in self._traces.values() if trace.until > now and not trace.is_full]
        recording = Recording(self, living)
        recording.is_at(vserv)
        if address is not None:
            recording.comes_from(address)
        waits = address is None or any(trace.of in (USER, BACKEND) for trace in living)
        return recording if recording.matched or waits else None

    def _look(self) -> None:
        """Whether there is a change. An id may be used again, by the next one behind a trace that nobody came for."""
        orders = dict(self.orders)
        if orders == self._known:
            return
        before, self._known = self._known, orders
        traces = self._traces
        self._traces = {
            ident: traces[ident] if ident in traces and before[ident] == value else OrderedTrace.ordered(ident, value)
            for ident, value in well_formed(orders).items()
        }
        self._until = max((trace.until for trace in self._traces.values()), default=0.0)

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


class Recording:
    """What one session has said so far, and for which traces."""

    def __init__(self, recorder: Recorder, traces: Iterable[OrderedTrace]) -> None:
        self._recorder = recorder
        self._candidates = list(traces)
        self.matched: list[OrderedTrace] = []
        self.sid = ""
        self._began = time.monotonic()
        self._kept: list[tuple[float, str, Lines]] = []
        self._octets = 0
        self._left_out = 0
        self._text: list[str] = []
        self._length = 0
        self._passed: PassedOn | None = None

    # Whose it is

    def is_at(self, vserv: str) -> None:
        """Its virtual server."""
        self._match(VSERV, lambda name: name == vserv)

    def comes_from(self, address: str) -> None:
        """Its client's address."""
        if not any(trace.of == NETWORK for trace in self._candidates):
            return
        parsed = ipaddress.ip_address(address.partition("%")[0])
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        self._match(NETWORK, lambda name: parsed in _network(name))

    def asks_for(self, user: str) -> None:
        """Who wants to log in."""
        self._match(USER, lambda name: name == user)

    def goes_to(self, backend: str) -> None:
        """The backend of his mailbox."""
        self._match(BACKEND, lambda name: name == backend)

    def _match(self, of: str, fits: Callable[[str], bool]) -> None:
        found = [trace for trace in self._candidates if trace.of == of and fits(trace.name)]
        if found:
            self._candidates = [trace for trace in self._candidates if trace not in found]
            if self.matched:
                self.flush()
            else:
                self._recorder.count()
            self.matched += found

    # What is said

    def keep(self, leg: str, lines: Lines, octets: int) -> None:
        """One thing more. Lines are only made of it when somebody wants to read them."""
        moment = time.monotonic() - self._began
        if self.matched:
            self._release()
            self._put(moment, leg, lines)
            return
        self._octets += octets + 16
        if self._octets > _MOST_KEPT:
            self._left_out += 1
        else:
            self._kept.append((moment, leg, lines))

    def tell(self, text: str) -> None:
        """What has happened."""
        self.keep("--", lambda: (printable(text),), len(text))

    def _release(self) -> None:
        """What was kept becomes lines: now somebody wants them."""
        kept, self._kept = self._kept, []
        for moment, leg, lines in kept:
            self._put(moment, leg, lines)
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._put(0.0, "--", lambda: (f"{left_out} more before this: too much to be kept",))

    def _put(self, moment: float, leg: str, lines: Lines) -> None:
        if not all(map(self._recorder.goes_on, self.matched)):
            self.flush()
            self.matched = list(filter(self._recorder.goes_on, self.matched))
        for line in lines() if self.matched else ():
            self._text.append(f"{self.sid} {moment:+.6f} {leg} {line}\n")
            self._length += len(self._text[-1])
        if self._length >= _PIECE:
            self.flush()

    def flush(self) -> None:
        """What there is goes into the files."""
        text = "".join(self._text)
        self._text, self._length = [], 0
        if text:
            for trace in self.matched:
                self._recorder.write(trace, text)

    # The relay

    def decide(self) -> None:
        """The login is over: now it is known whose session it is, and if it is nobody's nothing is kept any more."""
        if not self.matched:
            self._kept, self._octets, self._candidates = [], _MOST_KEPT, []

    def listens(self) -> bool:
        """Whether what is passed on is to be heard."""
        if not self.matched:
            return False
        self._release()
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
        moment = time.monotonic() - self._began
        for leg, text in lines:
            self._put(moment, leg, _as_it_is(text))

    def end(self, text: str) -> None:
        """The session is over."""
        if not self.matched:
            return
        self._release()
        if self._passed is not None:
            self._pass(self._passed.rest())
        self.tell(text)
        self.flush()


def _as_it_is(text: str) -> Lines:
    def lines() -> Iterator[str]:
        yield text

    return lines


def _network(name: str) -> Network:
    return ipaddress.ip_network(name)
