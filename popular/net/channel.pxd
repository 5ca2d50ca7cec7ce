from supervisor.system cimport EventTaker, Poller, close, end_sending, receive, send, send_last

cdef class Channel:
    cdef public int fd
    cdef public bint tls
    cdef public unsigned int _events, most
    cdef public Poller _core
    cdef public object _connection
    cdef public object _watcher
    cpdef want(self, unsigned int events)
    cpdef hand_to(self, watcher)
    cpdef double now(self) except? -1
    cpdef later(self, EventTaker taker)
    cpdef bytes receive(self, Py_ssize_t most)
    cpdef Py_ssize_t send(self, bytes data) except -1
    cpdef Py_ssize_t send_last(self, bytes data) except -1
    cpdef bint pending(self) except -1
    cpdef end_sending(self)
    cpdef close(self)
    cpdef close_kindly(self)
