cimport cython

from popular.net.channel cimport Channel
from popular.net.splice cimport Transfer
from popular.protocol.watch cimport CommandWatch
from popular.proxy.session.events cimport SessionEvents
from supervisor.system cimport EventTaker

cdef class RelayPair(EventTaker):
    cdef public Channel _backend, _client
    cdef public CommandWatch watch
    cdef public Transfer _transfer
    cdef public bytes _for_backend, _for_client
    cdef public object _pipes
    cdef public SessionEvents _owner
    cdef public bint _client_done, _flush_scheduled, _keepalive_on, _over, _plain
    cdef public bint _reads_backend, _reads_client
    cdef public int _mail_end
    cdef public double last_activity
    cdef public long long from_client, to_client
    cpdef take_over(self, Channel client, Channel backend, bint client_done)
    @cython.locals(backend=Channel)
    cpdef close(self)
    cdef _end(self, str ending)
    cdef _splice(self)
    cdef bint _empty(self, Transfer transfer) except -1
    @cython.locals(held=bytes, sent=Py_ssize_t)
    cdef bint _flush_last_to_client(self) except -1
    cdef _tell_end_of_client(self)
    cdef _see_end_of_backend(self)
    cdef str _why_both_are_done(self)
    cpdef keep_alive(self)

cdef _send_what_goes(Channel channel, bytes held)
