from popular.net.channel cimport Channel
from supervisor.system cimport Clock

cdef class ClientConnection:
    cdef public object _asker, _dialogue, _log, _loop, _owner
    cdef public Clock _clock
    cdef public Channel channel
    cdef public bytes unsent
    cdef public unsigned int _unfed
    cdef public bint _draining, done, listens, waits
    cdef public double heard, took
    cdef public long long received, sent
    cpdef put(self, bytes data)
    cpdef put_content(self, bytes data)
    cpdef bint flush(self) except -1
    cpdef listen(self, bint wanted)
    cpdef bytes hand_over(self)
    cpdef close(self, bint after_quit)
    cdef _read(self, owner)
    cdef _drain(self)
    cdef _takes_more(self, owner)
    cdef _read_again(self)
