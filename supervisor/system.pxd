from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    MOST_BUCKETS = 64
    MOST_COLUMNS = 64

cdef class Clock:
    cdef public double now

cdef class EventTaker:
    cpdef ready(self, int fd, unsigned int events)
    cpdef turn_over(self)

cdef class Poller:
    cdef int _epoll, _places
    cdef PyObject **_late
    cdef list _watchers
    cdef Py_ssize_t _waiting
    cdef readonly Clock clock
    cdef public bint interrupted
    cdef _put(self, int fd, watcher)
    cdef int _control(self, int operation, int fd, unsigned int events) except -1
    cpdef watch(self, int fd, unsigned int events, watcher)
    cpdef rewatch(self, int fd, unsigned int events)
    cpdef redirect(self, int fd, watcher)
    cpdef unwatch(self, int fd)
    cpdef forget(self, int fd)
    cpdef later(self, EventTaker taker)
    cdef _end_turn(self)

cpdef bytes receive(int fd, Py_ssize_t most)
cpdef Py_ssize_t send(int fd, data) except -1
cpdef Py_ssize_t send_last(int fd, bytes data) except -1
cpdef give_number(int fd, unsigned int number)
cpdef end_sending(int fd)
cpdef close(int fd)
cpdef tuple accept(int listening)
cpdef int dial(str address, int port, str source=*) except -1

cpdef double wall()
cpdef double monotonic()

cdef class Shared:
    cdef Py_buffer _map
    cdef bint _held
    cdef uint64_t *_numbers
    cdef Py_ssize_t _count
    cdef int _store(self, Py_ssize_t at, const char *octets, Py_ssize_t length) except -1
    cpdef uint64_t read(self, Py_ssize_t cell) except? 0xffffffffffffffff
    cpdef write(self, Py_ssize_t cell, uint64_t number)
    cpdef add(self, Py_ssize_t cell, int64_t amount)
    cpdef uint64_t total(self, Py_ssize_t first, Py_ssize_t step, Py_ssize_t end) except? 0xffffffffffffffff
    cpdef bint fill(self, Py_ssize_t cell, int fd) except -1
    cpdef put(self, Py_ssize_t at, bytes octets)

cdef class Packer:
    cdef Py_ssize_t _count, _size
    cdef char _kinds[MOST_COLUMNS]
    cdef Py_ssize_t _widths[MOST_COLUMNS]
    cdef Shared _shared
    cdef Py_ssize_t _draft_at
    cpdef put(self, Py_ssize_t at, long row, tuple values)

cdef class Observer:
    cdef Shared _shared
    cdef Py_ssize_t _first, _sum, _event, _buckets
    cdef uint64_t _bounds[MOST_BUCKETS]
    cpdef observe(self, double seconds)
