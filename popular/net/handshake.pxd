cimport cython

from popular.net.tlschannel cimport TlsChannel
from supervisor.octets cimport named

cdef class Handshake:
    cdef public object _leg, _loop, _tls_settings
    cdef public tuple _alpn
    cdef public Py_ssize_t _seen
    cdef _look(self)
    cdef _refuse_protocols(self, tuple offered)
    cdef _begin(self, str server_name)
    cdef _shake_hands(self)
    cdef _shake_hands_and_greet(self)
    cdef _agreed(self, TlsChannel channel)
