cimport cython

from popular.net.channel cimport Channel
from popular.net.deadlines cimport DeadlineOwner
from supervisor.octets cimport joined
from supervisor.runtime.oftenlog cimport OftenLog
from supervisor.system cimport EventTaker

cdef class ClientOwner(DeadlineOwner):
    cdef public str sid
    cpdef client_says(self, bytes data)
    cpdef client_eof(self)
    cpdef client_took_all(self)
    cpdef client_broke(self)
    cpdef fault(self, error)

cdef class ClientConnection(EventTaker):
    cdef public ClientOwner _owner
    cdef public object _asker, _dialogue
    cdef public OftenLog _log
    cdef public Channel channel
    cdef public bytes unsent
    cdef public unsigned int _idle_events
    cdef public bint _draining, _flush_scheduled, at_eof, reads, write_blocked
    cdef public double heard, took
    cdef public long long received, sent
    cpdef hear_of_reset(self)
    cpdef put(self, bytes data)
    cpdef put_content(self, bytes data)
    cpdef bint flush(self) except -1
    cpdef bint flush_last(self) except -1
    cpdef flush_later(self)
    cpdef turn_over(self)
    @cython.locals(unsent=bytes)
    cdef _taken(self, Py_ssize_t taken)
    cpdef set_reading(self, bint wanted)
    cpdef bytes hand_over(self)
    cpdef close(self, bint after_quit)
    @cython.locals(owner=ClientOwner)
    cpdef ready(self, int _fd, unsigned int events)
    @cython.locals(data=bytes)
    cdef _read(self, ClientOwner owner)
    cdef _drain(self)
    cdef _takes_more(self, ClientOwner owner)
    cdef _read_again(self)
