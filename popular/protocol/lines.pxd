cdef class LineBuffer:
    cdef public bytes held
    cdef public Py_ssize_t limit
    cpdef feed(self, bytes data)
    cpdef next_line(self, bytes data=*)
    cpdef bytes take_rest(self)
