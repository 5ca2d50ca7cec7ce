cimport cython

from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport EventTaker, Shared, accept

cdef class Acceptor

cdef class Entrance(EventTaker):
    cdef Acceptor _acceptor
    cdef object _listening
    cdef str _name
    cpdef ready(self, int fd, unsigned int _events)

cdef class Acceptor:
    cdef public WorkerContext _context
    cdef public object _on_queues_empty, _on_tokens, _loop, _service, _waiters
    cdef public dict _listeners, _retired
    cdef public list _emptying
    cdef public int _tokens
    cdef public long _most, _room
    cdef public bint _allowed, _armed, _full, _over, _pausing, _starved
    @cython.locals(context=WorkerContext, shared=Shared, host=str)
    cpdef bint accept_from(self, listening, int listening_fd, str listener_name) except -1
