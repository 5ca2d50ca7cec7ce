cdef class Holders:
    cdef public object _release
    cdef public long _count
    cdef public bint _retired
    cpdef come(self)
    cpdef leave(self)
