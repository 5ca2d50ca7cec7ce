from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport Shared

cdef class BackendQueue:
    cdef public WorkerContext _context
    cdef public Shared _shared
    cdef public Py_ssize_t _cell
    cdef public long _most
    cpdef bint enter(self) except -1
    cpdef leave(self)
