cdef tuple _NAMES
