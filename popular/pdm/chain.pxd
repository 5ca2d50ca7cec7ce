cimport cython

from supervisor.octets cimport namedtuple_of
from supervisor.system cimport monotonic

cpdef bint takes(module, str kind) except -1

cdef class Record:
    cdef public list asked, failed
    cpdef forget(self)
    cpdef add(self, step, double seconds, heard)

cdef class Asker:
    cdef public object _first, _modules
    cdef public str _ident
    @cython.locals(began=double)
    cpdef ask(self, question, Record record, bint hide_unknown)
