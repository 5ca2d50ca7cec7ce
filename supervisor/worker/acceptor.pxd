from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport Shared, accept

cdef class Acceptor:
    cdef public WorkerContext _context
    cdef public object _emptied, _fed, _loop, _service
    cdef public dict _listeners, _retired
    cdef public list _emptying
    cdef public int _tokens
    cdef public long _most, _room
    cdef public bint _allowed, _armed, _full, _over, _pausing, _starved
