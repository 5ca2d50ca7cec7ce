cimport cython

from popular.protocol.lines cimport LineBuffer, is_ok
from popular.protocol.xpop cimport request
from supervisor.octets cimport find, joined, namedtuple_of

cdef bint _ends_a_line(bytes octets) except -1

cdef class BackendLogin:
    cdef public object rejection
    cdef public bint greets
    cpdef bytes opening(self)
    cpdef hear(self, bytes data)

cdef class Pop3Login(BackendLogin):
    cdef public LineBuffer _lines
    cdef public tuple _say, _steps
    cdef public bytes _password
    cdef public long _ahead, _first, _last, _step
    cdef public bint _needs_offer
    cpdef bytes opening(self)
    @cython.locals(line=bytes, step=long)
    cpdef hear(self, bytes data)
    cdef bint _does_not_matter(self, bytes line) except -1
    cdef _hear_of_user(self, bytes line)
    cdef bytes _say_next(self)

cdef class XpopLogin(BackendLogin):
    cdef public LineBuffer _lines
    cdef public bytes _opening
    cpdef bytes opening(self)
    cpdef hear(self, bytes data)
