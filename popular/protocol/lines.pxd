cimport cython

from supervisor.octets cimport find, part

cdef bytes _BLANKS

cpdef bint is_ok(bytes line) except -1

@cython.locals(end=Py_ssize_t)
cpdef Py_ssize_t single_line(bytes data) except? -1

cdef class LineBuffer:
    cdef public bytes held
    cdef public Py_ssize_t limit
    cpdef feed(self, bytes data)
    @cython.locals(held=bytes, end=Py_ssize_t, length=Py_ssize_t, null=Py_ssize_t)
    cpdef bytes next_line(self, bytes data=*)
    cpdef bytes take_rest(self)
