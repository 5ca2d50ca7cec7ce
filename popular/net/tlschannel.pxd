from popular.net.channel cimport Channel
from popular.net.tlscore cimport gather, tls_of
from popular.net.tlsmodule cimport TlsEnd

cdef class TlsChannel(Channel):
    cdef public TlsEnd _tls
    cdef public bint _gathers
    cpdef change_context(self, context)
    cpdef tuple agreed(self)
    cpdef str handshake(self)
    cpdef Py_ssize_t send_last(self, bytes data) except -1
    cpdef bytes receive(self, Py_ssize_t most)
    cpdef Py_ssize_t send(self, bytes data) except -1
    cpdef bint pending(self) except -1
    cpdef end_sending(self)
    cpdef gather(self, bint begins)
    cpdef close(self)
