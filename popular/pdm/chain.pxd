cimport cython

from popular.pdm.steps cimport Record, is_sound, takes
from supervisor.octets cimport namedtuple_of
from supervisor.system cimport monotonic

cdef class Asker:
    cdef public object _first, _modules
    cdef public str _ident
    @cython.locals(began=double)
    cpdef ask(self, question, Record record, bint hide_unknown)
