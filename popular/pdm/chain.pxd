cdef class Record:
    cdef public list asked, failed
