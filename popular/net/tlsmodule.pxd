cdef class TlsEnd:
    cdef public object connection
    cpdef change(self, context)
    cpdef tuple agreed(self)
    cpdef str handshake(self)
    cpdef bytes receive(self, Py_ssize_t most)
    cpdef Py_ssize_t send(self, bytes data) except -1
    cpdef bint pending(self) except -1
    cpdef end_sending(self)
    cpdef close(self)

cdef class TlsThroughModule(TlsEnd):
    pass
