from supervisor.octets cimport entry
from supervisor.system cimport wall

cdef class Lines:
    cdef public str _host, _stamp, _who, _zone, program
    cdef public long _pid, _second
    cdef public dict _shapes, _tails
    cdef public bint _with_fractions
    cdef str _head(self, str name, message, str sid)
    cdef bytes _line(self, str head, tuple names, tuple values)
    cdef tuple _shape(self, tuple names, tuple values)
    cdef str _time(self)
