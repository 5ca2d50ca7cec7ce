cdef class RefCount:
    cdef public object _let_go
    cdef public Py_ssize_t _count
    cdef public bint _retired
    cpdef acquire(self)
    cpdef release(self)
    cpdef retire(self)
