cimport cython

from supervisor.runtime.logline cimport Lines, Often
from supervisor.runtime.logroom cimport LogRoom

cdef class OftenLog:
    cdef public Lines _lines
    cdef public LogRoom _room
    cdef public frozenset options
    cdef public bint _as_text
    @cython.locals(line=bytes, room=LogRoom)
    cpdef often(self, Often kind, str sid, tuple values)
