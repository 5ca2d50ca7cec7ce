from popular.proxy.session.backend.contracts cimport BackendKnowledge
from supervisor.system cimport Clock

cdef class Announced(BackendKnowledge):
    cdef public object _ask, _international, _mechanisms, _of, _records, _wall, backend
    cdef public tuple _said
    cdef public long _index
    cdef public Clock _clock
    cdef public double _ask_at, _look_at
    cdef public bint _auto, _pipelines
    cpdef bint pipelines(self) except -1
    cpdef note_login(self)
