from popular.net.channel cimport Channel
from supervisor.system cimport dial

cdef class BackendConnection:
    cdef public object _extras, _owner
    cdef public bint _greets, _lasts
    cdef public Channel channel
    cpdef str send(self, bytes data)
    cpdef keep_alive(self)
    cpdef close(self)
    cdef _break(self, str reason, str word=*)
    cdef _read(self)
    cdef _heard(self, extras)
