"""A session that only passes by while users or backends are traced: in clear nearly all do, and nothing is made for
them.

Its first words stand in fields until it is known that it concerns nobody: the greeting, a name that is in no trace by
user, the reply; where backends are traced also what the modules said. Whatever else happens wakes it: then there is a
`Recording` (recording.py), which is told what the fields have, and hears the session from there on.
"""

from popular.pdm.chain import Decision
from popular.proxy.session.machine.phases import NAMED
from popular.proxy.session.session import Session
from popular.proxy.session.tracing.recorded_lines import RecordedLines
from popular.proxy.session.tracing.recorder import Recorder
from popular.proxy.session.tracing.recording import PASSING, Recording, recording_of_later
from popular.proxy.session.tracing.transcript import ours
from supervisor.octets import find, word_at

_PASS, _USER = word_at(b"PASS"), word_at(b"USER")
_BLANK, _CR, _LF = 32, 13, 10


class PassingSession(Session):
    """What a recorded session is as long as it only passes by. What `lets` something happen says False where somebody
    has to hear it.
    """

    __slots__ = (
        "_asked_at",
        "_decided_at",
        "_greeting",
        "_home",
        "_in_force",
        "_is_open",
        "_is_passing",
        "_lines",
        "_name_at",
        "_name_line",
        "_named",
        "_of",
        "_pass_at",
        "_recorder",
        "_recording",
        "_reply",
        "_target",
    )

    _recorder: Recorder
    _recording: Recording
    _lines: RecordedLines | None

    def _pass_by(self, recorder: Recorder) -> None:
        """Nobody knows yet whether it concerns anybody. In the compiled form what is empty is so already."""
        self._recorder, self._in_force = recorder, recorder.in_force
        self._recording = PASSING
        self._is_passing = self._is_open = True
        """`_is_open`: what is said now somebody may want to read."""
        self._greeting: bytes | None = None
        self._name_line: bytes | None = None
        self._reply: bytes | None = None
        self._named: str | None = None
        """Whom the client has named, and in which namespace he is (`_of`)."""
        self._of: str | None = None
        self._home: str | None = None
        """The backend that the modules have named, and the mailbox there (`_target`)."""
        self._target: str | None = None
        self._name_at = self._pass_at = self._asked_at = self._decided_at = 0.0

    def _lets_say(self, data: bytes) -> bool:
        """What has come of the client."""
        machine, end = self._machine, len(data) - 2
        if end <= 4 or data[4] != _BLANK or data[end] != _CR or find(data, _LF) != end + 1 or not machine.answers():
            return False
        word = word_at(data)
        if self._name_line is None:
            if word != _USER:
                return False
            self._name_line, self._name_at = data, self._in_force.clock.now
            return True
        if word != _PASS or self._reply is None or self._pass_at:
            return False
        self._pass_at = self._in_force.clock.now
        return True

    def _lets_send(self, data: bytes) -> bool:
        """Our reply."""
        if self._greeting is None:
            self._greeting = data
            return True
        if self._reply is not None:
            return not self._is_open
        machine = self._machine
        if self._name_line is None or machine.phase is not NAMED or machine.user in self._in_force.users:
            return False
        self._reply, self._named, self._of = data, machine.user, machine.namespace
        self._is_open = self._in_force.by_backend
        return True

    def _lets_decide(self, decision: Decision) -> bool:
        """What the modules say: only where they lead to a backend is all said that is to be known of it."""
        if not self._is_open:
            return True
        route = getattr(decision, "route", None)
        if route is None:
            return False
        backend = route.backend
        if backend in self._in_force.backends:
            return False
        self._home, self._target = backend, route.target
        self._decided_at = self._in_force.clock.now
        self._is_open = False
        return True

    def _lets_go_to(self, backend: str) -> bool:
        """Where he goes, which need not be where the modules lead: he was moved, or it is down."""
        return not self._in_force.by_backend or backend == self._home or backend not in self._in_force.backends

    def _heard(self) -> Recording:
        """Who hears what happens now, out of the ordinary."""
        return self._wake() if self._is_passing and self._is_open else self._recording

    def _wake(self) -> Recording:
        """Who hears it from here on, and knows all that was said."""
        self._is_passing = False
        self._recording = recording = recording_of_later(self._recorder, self._in_force, self._accepted_at)
        recording.begin(self.sid, self._machine.peer(), self._runtime.rules.vserv)
        if self._greeting is not None:
            recording.keep("P>C", ours, self._greeting)
            recording.was_at(self._accepted_at)
        if self._name_line is not None:
            recording.hears(self._name_line)
            recording.was_at(self._name_at)
        if self._named is not None and self._reply is not None and self._of is not None:
            recording.names(self._named)
            recording.keep("P>C", ours, self._reply)
            recording.was_at(self._name_at)
            if self._pass_at:
                recording.hears(b"PASS *\r\n")
                recording.was_at(self._pass_at)
            if self._asked_at:
                recording.asks_for(self._of, self._named)
                recording.asking(self._of, self._named)
                recording.was_at(self._asked_at)
            if self._home is not None:
                recording.answered("Admitted", self._home, self._target)
                recording.was_at(self._decided_at)
                recording.goes_to(self._home)
        self._is_gone_by()
        return recording

    def _is_gone_by(self) -> None:
        """Its first words are of no use any more."""
        self._is_passing = False
        self._greeting = self._name_line = self._reply = None
