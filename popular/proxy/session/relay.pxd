cimport cython

from popular.net.channel cimport Channel
from popular.net.splice cimport Transfer
from popular.protocol.watch cimport CommandWatch
from popular.proxy.session.events cimport SessionEvents
from supervisor.system cimport EventTaker

cdef class Relay(EventTaker):
    cdef public Channel _backend, _client
    cdef public CommandWatch watch
    cdef public Transfer _transfer
    cdef public bytes _for_backend, _for_client
    cdef public object _pipes
    cdef public SessionEvents _owner
    cdef public bint _client_done, _lasts, _leaves, _over, _plain, _reads_backend, _reads_client, _whole
    cdef public double active
    cdef public long long from_client, to_client
    cpdef join(self, Channel client, Channel backend, bint client_done)
    cpdef begin(self, bytes to_client, bytes to_backend)
    cpdef keep_alive(self)
    @cython.locals(backend=Channel)
    cpdef close(self)
    cdef _end(self, str ending)
    cdef _balance(self)
    cdef _leave_later(self)
    cpdef turn_over(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef _send_to_backend(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef _send_to_client(self)
    cpdef ready(self, int fd, unsigned int events)
    @cython.locals(owner=SessionEvents)
    cdef _on_client(self, unsigned int events)
    @cython.locals(owner=SessionEvents, is_much=bint)
    cdef _on_backend(self, unsigned int events)
    cdef _read_pending_client(self)
    @cython.locals(piece=bytes)
    cdef _read_client(self)
    cdef _give_backend(self, bytes piece)
    cdef _backend_takes_more(self)
    cdef _tell_end_of_client(self)
    @cython.locals(piece=bytes, backend=Channel)
    cdef bint _read_backend(self) except -1
    cdef _see_end_of_backend(self)
    cdef str _why_both_are_done(self)
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef bint _says_last(self) except -1
    cdef _read_much(self)
    cdef _read_on_backend(self)
    cdef _give_client(self, bytes piece)
    cdef _splice(self)
    cdef _client_takes_more(self)

cdef _send_what_goes(Channel channel, bytes held)
