cdef class Transfer:
    cdef public object _pipe, _pipes
    cdef public long held
