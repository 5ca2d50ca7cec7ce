cimport cython

cdef class Record:
    cdef public list asked, failed
    cpdef add(self, step, double seconds, heard)
