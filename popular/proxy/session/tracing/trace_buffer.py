"""What a session has said, for the flight recorder: kept as it is, and written as lines when somebody wants to read it.

Lines (transcript.py) cost much, and nearly all sessions are nobody's whom they trace. So what is said is only kept, up
to a bound, until `add_traces` says for whom it is; from then on it is written in pieces. What holds a secret is made a
line at once (`keep_now`), so that no secret is kept any longer than without a trace.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from popular.protocol.printable import printable
from popular.proxy.session.tracing.trace_filter import TraceFilter
from popular.proxy.session.tracing.trace_registry import NOBODY, OrderedTrace, TraceRegistry
from popular.proxy.session.tracing.transcript import command as transcribed
from supervisor.system import Clock

_MOST_KEPT = 4096
"""Octets of a session that are kept while nobody knows whether it is to be recorded."""
_OCTETS_OF_EACH, _OCTETS_OF_ENTRY = 16, 200
"""What each thing counts beside what was said; and an entry of the log."""
_MOST_WAITING = 64
"""Things that a session has said, of which lines are made together."""
_PIECE = 1 << 14
"""Characters that are written at a time."""
_WITH_CLIENT = ("C>P", "P>C")

Lines = Callable[..., Iterable[str]]
"""Makes lines of what was kept, and of the facts that were kept beside it, if there is need for them."""


class KeptThing:
    """One thing that is kept, and what was before it: so what concerns nobody costs no list, and goes at once."""

    __slots__ = ("before", "facts", "leg", "lines", "moment", "said")

    before: "KeptThing | None"
    facts: tuple[object, ...] | None
    leg: str
    lines: Lines
    moment: float
    said: Any


def _begun(peer: tuple[str, int], vserv: str, moment: float) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    return f"session of {peer[0]} port {peer[1]} at {vserv}, {when}"


def _too_much(things: int) -> str:
    return f"{things} more before this: too much to be kept"


def _told(text: str, facts: tuple[object, ...]) -> Iterator[str]:
    yield printable(text % facts)


def _logged(name: str, facts: tuple[Mapping[str, object]]) -> Iterator[str]:
    (fields,) = facts
    yield printable(" ".join([name, *(f"{field}={value!r}" for field, value in fields.items() if value != "")]))


def command_line(line: bytes) -> Iterator[str]:
    """A client's line, with its end or without."""
    return transcribed(line.removesuffix(b"\n").removesuffix(b"\r"))


def as_it_is(line: str) -> Iterator[str]:
    """What is a line already."""
    yield line


class TraceBuffer:
    """What one session has said so far, and the traces that it is written for."""

    __slots__ = (
        "_began",
        "_began_at",
        "_beginning",
        "_beginning_left_out",
        "_beginning_octets",
        "_clock",
        "_kept",
        "_left_out",
        "_length",
        "_octets",
        "_peer",
        "_registry",
        "_text",
        "_vserv",
        "_waiting",
        "matched",
        "quiet",
        "sid",
    )

    _clock: Clock

    def _set_up(self, registry: TraceRegistry, in_force: TraceFilter, now: float) -> None:
        """A method, and not `__init__`, because in the compiled form it is a call of C."""
        self._registry = registry
        self._clock = in_force.clock
        self.matched = NOBODY
        """The traces whom the session concerns, as far as is known."""
        self.quiet = False
        """Nothing is kept: it is somebody else's login."""
        self.sid = ""
        self._peer: tuple[str, int] | None = None
        """Who has come to which virtual server, and when: until that is a line."""
        self._vserv = ""
        self._began_at = now
        self._began = self._clock.now
        self._kept: KeptThing | None = None
        """The last thing."""
        self._waiting = 0
        """How many are kept."""
        self._octets = 0
        self._left_out = 0
        self._text: list[str] | None = None
        """Lines that are not written yet; None: none."""
        self._length = 0
        self._beginning: list[tuple[str, str]] | None = None
        """Legs and lines that some have had already, for whom it turns out to concern later; None: it is no use."""
        if in_force.by_network or now < in_force.late_until:
            self._beginning = []
        self._beginning_octets = self._beginning_left_out = 0

    def begin(self, sid: str, peer: tuple[str, int], vserv: str) -> None:
        """The session begins."""
        self.sid, self._peer, self._vserv = sid, peer, vserv

    # For whom

    def add_traces(self, traces: list[OrderedTrace]) -> None:
        """It concerns these: those that are new have what there is already."""
        if not traces:
            return
        found = [trace for trace in traces if trace not in self.matched]
        if not found:
            return
        if self.matched:
            self.flush()
            self._catch_up(found)
            self.matched = [*self.matched, *found]
        else:
            self._catch_up(found)
            self.matched = found
            self._release()
            self._registry.count()

    def _forget_login(self) -> None:
        """What somebody else's login said to the backend, or heard from it, is no beginning of this one."""
        if self.matched:
            self._release()
        assert self._beginning is not None
        first, *others = self._beginning
        self._beginning = [first, *((leg, line) for leg, line in others if leg in _WITH_CLIENT)]

    def _catch_up(self, traces: list[OrderedTrace]) -> None:
        """What others have had already."""
        if not self._beginning:
            return
        text = "".join([line for _, line in self._beginning])
        if self._beginning_left_out:
            text += self._line(self._clock.now - self._began, "--", _too_much(self._beginning_left_out))
        for trace in traces:
            self._registry.write(trace, text)

    # What is said

    def keep(self, leg: str, lines: Lines, said: bytes) -> None:
        """One thing more. Lines are only made of it when somebody wants to read them."""
        if not self.quiet:
            self._octets += len(said)
            self._keep(leg, lines, said, None)

    def keep_now(self, leg: str, lines: Lines, said: bytes) -> None:
        """Like `keep`, but lines are made of it at once: it holds a secret, or may do so."""
        if not self.quiet:
            for line in lines(said):
                self._octets += len(line)
                self._keep(leg, as_it_is, line, None)

    def tell(self, text: str, facts: tuple[object, ...] = ()) -> None:
        """What has happened, to be put together by `%`."""
        if not self.quiet:
            self._octets += len(text)
            self._keep("--", _told, text, facts)

    def log(self, name: str, fields: Mapping[str, object]) -> None:
        """An entry of the log."""
        if not self.quiet:
            self._octets += _OCTETS_OF_ENTRY
            self._keep("--", _logged, name, (fields,))

    def was_at(self, moment: float) -> None:
        """When the last thing has happened, if it is kept."""
        if self._kept is not None and not self.quiet:
            self._kept.moment = moment - self._began

    def _keep(self, leg: str, lines: Lines, said: Any, facts: tuple[object, ...] | None) -> None:
        matched = self.matched
        if matched and not all(map(self._registry.goes_on, matched)):
            self.flush()
            self.matched = matched = list(filter(self._registry.goes_on, matched))
        self._octets += _OCTETS_OF_EACH
        if matched or self._octets <= _MOST_KEPT:
            one = KeptThing.__new__(KeptThing)
            one.moment = self._clock.now - self._began
            one.leg, one.lines, one.said, one.facts = leg, lines, said, facts
            one.before, self._kept = self._kept, one
            self._waiting += 1
            if matched and self._waiting >= _MOST_WAITING:
                self._release()
        else:
            self._left_out += 1

    # What becomes lines

    def _release(self) -> None:
        """What was kept becomes lines: somebody wants them."""
        if self._peer is not None:
            peer, self._peer = self._peer, None
            self._put(0.0, "--", _begun(peer, self._vserv, self._began_at))
        one, kept = self._kept, []
        self._kept, self._waiting = None, 0
        while one is not None:
            kept.append(one)
            one = one.before
        for one in reversed(kept):
            for line in one.lines(one.said) if one.facts is None else one.lines(one.said, one.facts):
                self._put(one.moment, one.leg, line)
        if self._left_out:
            left_out, self._left_out = self._left_out, 0
            self._put(0.0, "--", _too_much(left_out))

    def _line(self, moment: float, leg: str, line: str) -> str:
        return f"{self.sid} {moment:+.6f} {leg} {line}\n"

    def _put(self, moment: float, leg: str, line: str) -> None:
        text = self._line(moment, leg, line)
        if self._beginning is not None:
            self._beginning_octets += len(text)
            if self._beginning_octets <= _MOST_KEPT:
                self._beginning.append((leg, text))
            else:
                self._beginning_left_out += 1
        if self._text is None:
            self._text = [text]
        else:
            self._text.append(text)
        self._length += len(text)
        if self._length >= _PIECE:
            self._write()

    def flush(self) -> None:
        """What there is goes into the files."""
        if self.matched:
            self._release()
            self._write()

    def _write(self) -> None:
        if self._text:
            text = "".join(self._text)
            self._text, self._length = None, 0
            for trace in self.matched:
                self._registry.write(trace, text)
