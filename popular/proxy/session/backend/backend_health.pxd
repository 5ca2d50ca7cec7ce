from popular.proxy.session.backend.contracts cimport HealthKnowledge
from supervisor.system cimport Clock

cdef class BackendHealth(HealthKnowledge):
    cdef public object _awaited, _draw, _logins, _records, _tell, _wall, backend, terms
    cdef public long _index
    cdef public Clock _clock
    cdef public double _look_at
    cdef public bint _is_up
    cpdef int takes(self, str address) except -1
