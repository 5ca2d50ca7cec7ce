cdef class CommandWatch:
    cdef public bytes _answer, _line
    cdef public long _answers, _owed, deletes, open
    cdef public bint _status, quit
    cpdef see(self, bytes data)
    cdef _command(self, bytes verb)
    cpdef hear(self, bytes data)
