cimport cython

from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.backend.contracts cimport BackendKnowledge
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.exchanges cimport Exchanges
from supervisor.octets cimport fields_of, joined

cdef class BackendSide(Exchanges):
    @cython.locals(known=BackendKnowledge, user=bytes, password=bytes, line=bytes, ahead=bint)
    cdef _begin_dialogue(self, password_of_module, BackendRuntime backend)
    cdef _open_mailbox(self, route, BackendRuntime backend)
    cpdef checked(self, mail, str reason)
    cdef _show_empty(self)
    cdef _connect(self, BackendRuntime backend)
    cpdef connected(self)
    cpdef backend_says(self, bytes data)
    cdef _begin_login(self)
    cdef _backend_accepted(self, said)
    cdef _logged_in(self)
    @cython.locals(around=Surroundings)
    cdef bint _passes_limits(self) except -1
    cpdef relay_ended(self, str ending)
