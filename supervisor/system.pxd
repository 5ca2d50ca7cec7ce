from libc.stdint cimport uint64_t

cdef class Clock:
    cdef public double now

cdef class Watch:
    cdef int _epoll
    cdef list _watchers
    cdef readonly Clock clock
    cdef public bint interrupted
    cdef _put(self, int fd, watcher)
    cdef int _control(self, int order, int fd, unsigned int events) except -1
    cpdef watch(self, int fd, unsigned int events, watcher)
    cpdef rewatch(self, int fd, unsigned int events)
    cpdef redirect(self, int fd, watcher)
    cpdef unwatch(self, int fd)
    cpdef forget(self, int fd)

cpdef receive(int fd, Py_ssize_t most)
cpdef Py_ssize_t send(int fd, data) except -1
cpdef end_sending(int fd)
cpdef close(int fd)
cpdef tuple accept(listening)
cpdef int dial(str address, int port) except -1

cdef class Packer:
    cdef readonly Py_ssize_t size
    cdef bytes _kinds
    cdef list _widths
    cpdef bytes pack(self, tuple values)
