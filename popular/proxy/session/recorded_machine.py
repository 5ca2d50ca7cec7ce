"""The machine of a session that is recorded: it tells of each line of the client's, and knows what it is, a command or
the response to a challenge.
"""

from functools import partial

from popular.proxy.session import transcript
from popular.proxy.session.machine import Machine
from popular.proxy.session.recorder import Recording
from popular.proxy.session.surroundings import Surroundings
from popular.proxy.session.verbs import Verbs


class RecordedMachine(Machine):
    """One."""

    __slots__ = ("_recording",)

    def __init__(self, verbs: Verbs, around: Surroundings, peer: tuple[str, int], *, recording: Recording) -> None:
        Machine.__init__(self, verbs, around, peer)
        self._recording = recording

    def _command(self, line: bytes) -> None:
        self._recording.keep("C>P", transcript.command, line)
        Machine._command(self, line)

    def _response(self, line: bytes) -> None:
        mechanism = self._exchange.mechanism.name if self._exchange is not None else ""
        self._recording.keep("C>P", partial(transcript.response, mechanism=mechanism), line)
        Machine._response(self, line)

    def _simulated(self, line: bytes) -> None:
        self._recording.keep("C>P", transcript.command, line)
        Machine._simulated(self, line)
