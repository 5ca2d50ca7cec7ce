cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.machine.machine_state cimport MachineState
from popular.proxy.session.tracing.recording cimport Recording

cdef class RecordedLines(LineBuffer):
    cdef public MachineState _machine
    cdef public Recording _recording
    @cython.locals(line=bytes, machine=MachineState)
    cpdef bytes next_line(self, bytes data=*)
    cdef _respond(self, MachineState machine, bytes line)
    cpdef forget(self)

@cython.locals(lines=RecordedLines, before=LineBuffer)
cpdef RecordedLines lines_for(MachineState machine, Recording recording)
