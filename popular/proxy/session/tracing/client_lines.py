"""The lines of a client whose session is recorded: the recording hears of each on its way to the machine, and the
machine knows what it is, a command or the response to a challenge.
"""

from functools import partial

from popular.protocol.lines import LineBuffer
from popular.proxy.session.machine.machine_state import MachineState
from popular.proxy.session.machine.phases import EXCHANGING
from popular.proxy.session.tracing import transcript
from popular.proxy.session.tracing.session_trace import SessionTrace


class ClientLines(LineBuffer):
    """What such a client has sent and was not yet answered."""

    __slots__ = ("_machine", "_session_trace")

    _machine: MachineState | None
    _session_trace: SessionTrace

    def next_line(self, data: bytes = b"") -> bytes | None:
        line = LineBuffer.next_line(self, data)
        machine = self._machine
        if line is not None and machine is not None:
            if machine.phase is EXCHANGING:
                self._respond(machine, line)
            else:
                self._session_trace.client_line(line)
        return line

    def _respond(self, machine: MachineState, line: bytes) -> None:
        exchange = machine._exchange
        mechanism = exchange.mechanism.name if exchange is not None else ""
        self._session_trace.keep_now("C>P", partial(transcript.response, mechanism=mechanism), line)

    def forget(self) -> None:
        """The session is over: lets go of the machine, which has these lines."""
        self._machine = None


def lines_for(machine: MachineState, session_trace: SessionTrace) -> ClientLines:
    """What goes on where the machine's buffer is. Without `__init__`, which no compiled class has for nothing."""
    lines, before = ClientLines.__new__(ClientLines), machine.lines
    lines.limit, lines.held = before.limit, before.held
    lines._machine, lines._session_trace = machine, session_trace
    return lines
