cpdef bint takes(module, str kind) except -1

cdef class Record:
    cdef public list asked, failed
    cpdef forget(self)
    cpdef add(self, step, double seconds, heard)
