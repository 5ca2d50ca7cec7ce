"""What one session has said, for the flight recorder (recorder.py): kept until it is known whether anybody wants it.

A trace by user or backend concerns few sessions, and which ones is known only in the middle of a login. So it is all
about the others: what is said is kept as it is, and made into lines (transcript.py) only when the session is the one.
Whatever holds a secret is made a line at once, so that no secret is kept for it any longer than without a trace. As
soon as a login turns out to be somebody else's the recording is `quiet`: it hears nothing until the client speaks
again, who may name another user then. Behind the login nothing is left of it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from popular.protocol.printable import printable
from popular.proxy.session.tracing.inforce import TracesInForce
from popular.proxy.session.tracing.recorder import OrderedTrace, Recorder
from popular.proxy.session.tracing.transcript import HIDDEN, PassedOn
from popular.proxy.session.tracing.transcript import command as transcribed
from popular.proxy.settings.order_sorts import user_key
from popular.proxy.settings.tracing import BACKEND, USER, VSERV
from supervisor.octets import find, word_at
from supervisor.system import wall

_MOST_KEPT = 4096
"""Octets of a session that are kept while nobody knows whether it is to be recorded."""
_OCTETS_OF_EACH, _OCTETS_OF_ENTRY = 16, 200
"""What each thing counts beside what was said; and an entry of the log."""
_MOST_WAITING = 64
"""Things that a session has said, of which lines are made together."""
_PIECE = 1 << 14
"""Characters that are written at a time."""
_PASS, _USER = word_at(b"PASS"), word_at(b"USER")
_CAPA, _STLS, _QUIT, _NOOP = word_at(b"CAPA"), word_at(b"STLS"), word_at(b"QUIT"), word_at(b"NOOP")
_BLANK, _CR, _LF = 32, 13, 10
_SHOWN_PASS = f"PASS {HIDDEN}"
_WITH_CLIENT = ("C>P", "P>C")
_NOBODY: list[OrderedTrace] = []
"""Never changed: nearly every session has this one."""

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


def recording_of(recorder: Recorder, vserv: str, address: str | None) -> "Recording | None":
    """For a new session; None if no trace can concern it, and PASSING if it is to be seen later whether one does.
    `address`: None if that is not known yet.
    """
    now = wall()
    in_force = recorder.in_force
    if now >= in_force.until:
        return None
    here = recorder.named(VSERV, vserv) if in_force.by_vserv and vserv in in_force.vservs else _NOBODY
    around = _NOBODY if address is None or in_force.is_elsewhere(address) else recorder.around(address)
    waits = now < in_force.late_until or (address is None and in_force.by_network)
    if not here and not around and not waits:
        return None
    if not here and not around and address is not None:
        return PASSING
    recording = Recording.__new__(Recording)
    recording._set_up(recorder, in_force, now)
    recording.matches(here)
    recording.matches(around)
    return recording


def recording_of_later(recorder: Recorder, in_force: TracesInForce, began: float) -> "Recording":
    """For a session that began then, by the worker's clock, and was not heard up to here."""
    recording = Recording.__new__(Recording)
    recording._set_up(recorder, in_force, wall() - (in_force.clock.now - began))
    recording._began = began
    return recording


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


def _command(line: bytes) -> Iterator[str]:
    """A client's line, with its end or without."""
    return transcribed(line.removesuffix(b"\n").removesuffix(b"\r"))


def _as_it_is(line: str) -> Iterator[str]:
    yield line


class Recording:
    """What one session has said so far, and for which traces."""

    __slots__ = (
        "_asked_for",
        "_asked_in",
        "_began",
        "_began_at",
        "_beginning",
        "_beginning_left_out",
        "_beginning_octets",
        "_clock",
        "_in_force",
        "_kept",
        "_left_out",
        "_length",
        "_octets",
        "_over",
        "_passed",
        "_peer",
        "_recorder",
        "_text",
        "_vserv",
        "_waiting",
        "matched",
        "quiet",
        "sid",
    )

    def _set_up(self, recorder: Recorder, in_force: TracesInForce, now: float) -> None:
        """A method, and not `__init__`, because in the compiled form it is a call of C."""
        self._recorder = recorder
        self._in_force = in_force
        self._clock = self._in_force.clock
        self.matched = _NOBODY
        self.quiet = False
        """Nothing is heard: it is somebody else's login."""
        self._over = False
        """It never will be anybody's whom they trace."""
        self.sid = ""
        self._asked_for = self._asked_in = ""
        """Who wanted to log in last, and in which namespace."""
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
        self._passed: PassedOn | None = None
        self._beginning: list[tuple[str, str]] | None = None
        """Legs and lines that some have had already, for whom it turns out to concern later; None: it is no use."""
        if in_force.by_network or now < in_force.late_until:
            self._beginning = []
        self._beginning_octets = self._beginning_left_out = 0

    # Whose it is

    def comes_from(self, address: str) -> None:
        """Its client's address."""
        self.matches(self._recorder.around(address))
        if not self.matched and wall() >= self._in_force.late_until:
            self.decide()

    def names(self, user: str) -> None:
        """Whom the client has named, by USER. Somebody whom nobody traces may say PASS unheard."""
        self.quiet = not self.matched and not self._in_force.by_backend and user not in self._in_force.users

    def asks_for(self, namespace: str, user: str) -> None:
        """Who wants to log in. Whether his backend is traced nobody knows yet."""
        if user != self._asked_for or namespace != self._asked_in:
            if self.matched:
                self._leave(user_key(namespace, user))
            if self._asked_for and self._beginning:
                self._forget_login()
        self._asked_for, self._asked_in = user, namespace
        if user in self._in_force.users:
            self.matches(self._recorder.named(USER, user_key(namespace, user)))
        self.quiet = not self.matched and not self._in_force.by_backend

    def goes_to(self, backend: str) -> None:
        """The backend of his mailbox."""
        if self._in_force.by_backend and not self._over:
            if backend in self._in_force.backends:
                self.matches(self._recorder.named(BACKEND, backend))
            self.quiet = not self.matched

    def _leave(self, key: str) -> None:
        """A login of somebody else: it is nothing to those who trace another user, or the backend of one."""
        stay = [trace for trace in self.matched if trace.of != BACKEND and (trace.of != USER or trace.name == key)]
        if len(stay) < len(self.matched):
            self.tell("somebody else wants to log in")
            self.flush()
            self.matched = stay
            self._octets = 0

    def _forget_login(self) -> None:
        """What somebody else's login said to the backend, or heard from it, is no beginning of this one."""
        if self.matched:
            self._release()
        assert self._beginning is not None
        first, *others = self._beginning
        self._beginning = [first, *((leg, line) for leg, line in others if leg in _WITH_CLIENT)]

    def matches(self, traces: list[OrderedTrace]) -> None:
        """It concerns these."""
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
            self._recorder.count()

    def _catch_up(self, traces: list[OrderedTrace]) -> None:
        """What others have had already."""
        if not self._beginning:
            return
        text = "".join([line for _, line in self._beginning])
        if self._beginning_left_out:
            text += self._line(self._clock.now - self._began, "--", _too_much(self._beginning_left_out))
        for trace in traces:
            self._recorder.write(trace, text)

    # What is said

    def begin(self, sid: str, peer: tuple[str, int], vserv: str) -> None:
        """The session begins."""
        self.sid, self._peer, self._vserv = sid, peer, vserv

    def hears(self, data: bytes) -> bool:
        """What has come of the client, if that is one whole command which may be kept as it is. False: nothing is
        heard, for all that its lines have to be told apart.
        """
        if self._over:
            return True
        end = len(data) - 2
        return end >= 4 and data[end] == _CR and find(data, _LF) == end + 1 and self._is_plain(data, end)

    def client_line(self, line: bytes) -> None:
        """A command of the client's, who may name somebody else from here on."""
        if not self._over and not self._is_plain(line, len(line)):
            self.quiet = False
            self.keep_now("C>P", transcribed, line)

    def _is_plain(self, line: bytes, length: int) -> bool:
        """Hears a command in which there can be no secret; or PASS, of which nothing is kept. False: it is another.

        `length`: its octets without the end.
        """
        word = word_at(line)
        if length > 4 and line[4] == _BLANK and word == _PASS:
            if not self.quiet:
                self._keep("C>P", _as_it_is, _SHOWN_PASS, None)
            return True
        is_bare = length == 4 and word in (_CAPA, _STLS, _QUIT, _NOOP)
        if not is_bare and not (length > 4 and line[4] == _BLANK and word == _USER):
            return False
        self.quiet = False
        self._octets += length
        self._keep("C>P", _command, line, None)
        return True

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
                self._keep(leg, _as_it_is, line, None)

    def tell(self, text: str, facts: tuple[object, ...] = ()) -> None:
        """What has happened, to be put together by `%`."""
        if not self.quiet:
            self._octets += len(text)
            self._keep("--", _told, text, facts)

    def asking(self, namespace: str, user: str) -> None:
        """The modules are asked."""
        if not self.quiet:
            self.tell("asking the modules for %r, namespace %r", (user, namespace))

    def answered(self, kind: str, backend: str, target: str | None) -> None:
        """They have named a backend."""
        if not self.quiet:
            self.tell("the modules have answered: %s, backend %r, target %r", (kind, backend, target))

    def was_at(self, moment: float) -> None:
        """When the last thing has happened, if it is kept."""
        if self._kept is not None and not self.quiet:
            self._kept.moment = moment - self._began

    def log(self, name: str, fields: Mapping[str, object]) -> None:
        """An entry of the log."""
        if not self.quiet:
            self._octets += _OCTETS_OF_ENTRY
            self._keep("--", _logged, name, (fields,))

    def _keep(self, leg: str, lines: Lines, said: Any, facts: tuple[object, ...] | None) -> None:
        matched = self.matched
        if matched and not all(map(self._recorder.goes_on, matched)):
            self.flush()
            self.matched = matched = list(filter(self._recorder.goes_on, matched))
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
                self._recorder.write(trace, text)

    # The relay

    def decide(self) -> None:
        """By now it is known whose session it is: if it is nobody's, nothing is kept any more."""
        self._beginning = None
        if not self.matched:
            self._kept = None
            self.quiet = self._over = True

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
            self._keep(leg, _as_it_is, line, None)

    def end(self, ending: str) -> None:
        """The session is over."""
        if self.matched:
            if self._passed is not None:
                self._pass(self._passed.rest())
            self.tell("the end: %s", (ending,))
            self.flush()


PASSING = Recording.__new__(Recording)
"""Hears nothing, and nothing changes it: what all sessions have that only pass by."""
PASSING.matched = _NOBODY
PASSING.quiet = PASSING._over = True
