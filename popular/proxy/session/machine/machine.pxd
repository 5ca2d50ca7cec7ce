cimport cython

from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.machine.backend_side cimport BackendSide
from popular.proxy.session.backend.contracts cimport HealthKnowledge
from supervisor.octets cimport fields_of

cdef class Machine(BackendSide):
    cpdef decided(self, decision)
    @cython.locals(takes=int)
    cdef bint _is_taken(self, HealthKnowledge health) except -1
    cpdef over(self)
    cdef _admit(self, route, str basis)
    @cython.locals(backend=BackendRuntime, health=HealthKnowledge)
    cdef _find_backend(self, route, str basis)
    cdef _go_to_backend(self, BackendRuntime backend)
    cdef _not_in_use(self, BackendRuntime backend)
    cdef bint _absorb(self, BackendRuntime backend, str basis) except -1
