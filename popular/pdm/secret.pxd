cdef class Secret:
    cdef bytes _octets
    cpdef bytes reveal(self)
