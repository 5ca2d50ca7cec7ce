from supervisor.octets cimport entry
from supervisor.system cimport wall

cdef class Often:
    cdef readonly object message
    cdef readonly tuple labels, names
    cdef readonly str tail

cdef class Lines:
    cdef public str _host, _stamp, _who, _zone, program
    cdef public long _pid, _second
    cdef public dict _shapes
    cdef public bint _with_fractions
    cpdef bytes known(self, Often kind, str sid, tuple values)
    cdef str _head(self, str name, message, str sid)
    cdef bytes _line(self, str head, tuple names, tuple values)
    cdef tuple _shape(self, tuple names, tuple values)
    cdef str _time(self)
