from supervisor.serving.context cimport WorkerContext
from supervisor.serving.counters cimport Counters
from supervisor.system cimport Observer

cdef class ModuleChain:
    cdef public WorkerContext _context
    cdef public Counters _counters
    cdef public object _modules
    cdef public dict _observers
    cdef public long _waiting
    cdef public bint blocking
    cpdef ask(self, question, bint hide_unknown)
    cdef _count(self, record)
