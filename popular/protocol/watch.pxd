cdef class CommandWatch:
    cdef public bytes _line
    cdef public long deletes
    cdef public bint quit
    cpdef see(self, bytes data)
    cdef _command(self, bytes verb)
