cimport cython

from popular.net.channel cimport Channel
from popular.protocol.watch cimport seen_of_mail_end
from popular.proxy.session.events cimport SessionEvents
from popular.proxy.session.relay_pair cimport RelayPair

cdef class Relay(RelayPair):
    cpdef begin(self, bytes to_client, bytes to_backend)
    cpdef ready(self, int fd, unsigned int events)
    cdef _balance(self)
    cdef _flush_later(self)
    cpdef turn_over(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef _send_to_backend(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef _send_to_client(self)
    @cython.locals(owner=SessionEvents)
    cdef _on_client(self, unsigned int events)
    cdef _read_pending_client(self)
    @cython.locals(piece=bytes)
    cdef _read_client(self)
    cdef _give_backend(self, bytes piece)
    cdef _backend_takes_more(self)
    @cython.locals(owner=SessionEvents, is_much=bint)
    cdef _on_backend(self, unsigned int events)
    @cython.locals(piece=bytes, backend=Channel)
    cdef bint _read_backend(self) except -1
    cdef _read_much(self)
    cdef _read_on_backend(self)
    cdef _give_client(self, bytes piece)
    cdef _client_takes_more(self)
