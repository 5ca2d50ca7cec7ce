from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.backend.contracts cimport HealthKnowledge
from popular.proxy.session.backend.rejections cimport UnexplainedRejections
from popular.proxy.session.machine.client_side cimport ClientSide
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.verbs cimport Verbs

cdef class FailedLogins(ClientSide):
    cdef public object _denied, _own_limits
    cdef public BackendRuntime _backend
    cdef public HealthKnowledge _health
    cdef public UnexplainedRejections _rejections
    cdef public str _words, backend_id, target
    cdef public long _row_number
    cdef public unsigned int _failures
    cdef public double _asked_at
    cdef public bint _charged, _password_is_ours
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
    cpdef _deny(self, code)
    cpdef backend_failed(self, str reason, str word)
