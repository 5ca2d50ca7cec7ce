cimport cython

from popular.net.channel cimport Channel
from popular.protocol.watch cimport seen_of_mail_end
from popular.proxy.session.bulk_relay cimport BulkRelay
from popular.proxy.session.events cimport SessionEvents

cdef class Relay(BulkRelay):
    cdef public SessionEvents _owner
    cdef public bint _flush_scheduled, _over
    cdef public long long from_client
    cpdef take_over(self, Channel client, Channel backend, bint client_eof)
    cpdef begin(self, bytes to_client, bytes to_backend)
    cpdef ready(self, int fd, unsigned int events)
    @cython.locals(owner=SessionEvents)
    cdef _on_client(self, unsigned int events)
    @cython.locals(piece=bytes)
    cdef _read_client(self)
    cdef _give_backend(self, bytes piece)
    cdef _backend_takes_more(self)
    @cython.locals(owner=SessionEvents, is_much=bint)
    cdef _on_backend(self, unsigned int events)
    @cython.locals(piece=bytes, backend=Channel)
    cdef bint _read_backend(self) except -1
    cdef _give_client(self, bytes piece)
    cdef _client_takes_more(self)
    cdef _balance(self)
    cdef _flush_later(self)
    cpdef turn_over(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef _send_to_backend(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef _send_to_client(self)
    cdef _tell_client_eof(self)
    cdef _see_end_of_backend(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef bint _flush_last_to_client(self) except -1
    cdef str _ending_of_backend(self)
    cdef _end(self, str ending)
    @cython.locals(backend=Channel)
    cpdef close(self)

cdef _send_what_goes(Channel channel, bytes held)
