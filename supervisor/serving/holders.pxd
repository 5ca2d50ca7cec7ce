cdef class Holders:
    cdef public object _let_go
    cdef public Py_ssize_t _count
    cdef public bint _retired
    cpdef come(self)
    cpdef go(self)
    cpdef retire(self)
