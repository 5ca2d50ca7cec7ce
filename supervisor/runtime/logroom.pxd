cimport cython

from supervisor.system cimport Shared

cdef class LogRoom:
    cdef public object _memory
    cdef public Shared _shared
    cdef public Py_ssize_t _most, used
    @cython.locals(start=Py_ssize_t)
    cpdef bint put(self, bytes line) except -1
