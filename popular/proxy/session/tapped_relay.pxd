from popular.proxy.session.relay cimport Relay

cdef class Tap:
    cdef public bint done
    cpdef client_says(self, bytes data)
    cpdef backend_says(self, bytes data)

cdef class TappedRelay(Relay):
    cdef public list _taps
    cdef public Py_ssize_t _unheard
    cdef _give_backend(self, bytes piece)
    cdef _give_client(self, bytes piece)
    cdef _splice(self)
