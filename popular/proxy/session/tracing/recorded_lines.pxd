cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.machine.client_side cimport ClientSide
from popular.proxy.session.tracing.recording cimport Recording

cdef class RecordedLines(LineBuffer):
    cdef public ClientSide _machine
    cdef public Recording _recording
    @cython.locals(line=bytes, machine=ClientSide)
    cpdef bytes next_line(self, bytes data=*)
    cdef _respond(self, ClientSide machine, bytes line)
    cpdef forget(self)

@cython.locals(lines=RecordedLines, before=LineBuffer)
cpdef RecordedLines lines_for(ClientSide machine, Recording recording)
