cdef long _LAST_PLACE

cdef Py_ssize_t _place_of(str user) except -1

cdef class UnexplainedRejections:
    cdef public bytearray _known
    cdef public bint _nobody
    cdef public set _consecutive
    cpdef note_success(self, str user)
    cpdef rejected(self, str user)
