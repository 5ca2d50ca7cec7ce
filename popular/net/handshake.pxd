cimport cython

from popular.net.channel cimport Channel
from popular.net.tlschannel cimport TlsChannel
from popular.net.tlscore cimport peek
from popular.protocol.clienthello cimport read_hello
from popular.tls.contexts cimport TlsSettings
from supervisor.octets cimport namedtuple_of
from supervisor.serving.counters cimport Counters
from supervisor.system cimport Clock, EventTaker

cdef class Handshake(EventTaker):
    cdef public object _owner
    cdef public TlsSettings _tls_settings
    cdef public Clock _clock
    cdef public tuple _alpn
    cdef public str _unread
    cdef public Py_ssize_t _seen
    @cython.locals(channel=Channel)
    cpdef ready(self, int _fd, unsigned int _events)
    @cython.locals(data=bytes)
    cdef _look(self, Channel channel)
    cdef _refuse_protocols(self, tuple offered)
    @cython.locals(channel=TlsChannel, settings=TlsSettings)
    cdef _begin(self, Channel plain, str server_name)
    cdef _shake_hands(self, TlsChannel channel)
    cdef _shake_hands_and_greet(self, TlsChannel channel)
    cdef _agreed(self, TlsChannel channel)

cdef _count_handshake(Counters counters, agreed, double seconds)
