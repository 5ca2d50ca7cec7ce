cimport cython

from popular.proxy.session.machine.machine_state cimport MachineState

cdef dict _AT_ONCE
cdef bytes _QUIT

cdef class ClientSide(MachineState):
    cdef _greet(self)
    cpdef _answer_lines(self)
    cpdef header_failed(self, str reason)
    cdef _start_tls(self)
    cpdef _simulate(self)
    cdef _logged_in(self)
    @cython.locals(reply=bytes, over=bint)
    cdef _simulated(self, bytes line)
