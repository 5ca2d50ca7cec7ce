cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.machine.machine_state cimport MachineState
from popular.proxy.session.tracing.session_trace cimport SessionTrace

cdef class ClientLines(LineBuffer):
    cdef public MachineState _machine
    cdef public SessionTrace _session_trace
    @cython.locals(line=bytes, machine=MachineState)
    cpdef bytes next_line(self, bytes data=*)
    cdef _respond(self, MachineState machine, bytes line)
    cpdef forget(self)

@cython.locals(lines=ClientLines, before=LineBuffer)
cpdef ClientLines lines_for(MachineState machine, SessionTrace session_trace)
