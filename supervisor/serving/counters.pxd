cimport cython

from supervisor.system cimport Observer, Shared

cdef class Counters:
    cdef public object _indexes, _layout
    cdef public Shared _shared
    cdef public dict _cells, _counters, _histograms, _observers
    cpdef Py_ssize_t cell(self, str counter, label=*, str ident=*) except -1
    cpdef count_one(self, str counter, label, str ident)
    @cython.locals(observer=Observer)
    cpdef observe(self, str histogram, double seconds, str ident=*)
    @cython.locals(by_id=dict, by_label=dict)
    cdef Py_ssize_t _cell(self, str counter, label, str ident) except -1
    cdef Py_ssize_t _first(self, row, str ident) except -1
