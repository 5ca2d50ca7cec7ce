from popular.net.channel cimport Channel
from popular.net.splice cimport Transfer
from popular.protocol.watch cimport CommandWatch
from supervisor.system cimport EventTaker

cdef class BulkRelay(EventTaker):
    cdef public Channel _backend, _client
    cdef public CommandWatch watch
    cdef public Transfer _transfer
    cdef public bytes _for_backend, _for_client
    cdef public object _pipes
    cdef public bint _client_eof, _keepalive_on, _plain, _reads_backend, _reads_client
    cdef public int _mail_end
    cdef public double last_activity
    cdef public long long to_client
    cdef _set_up(self, pipes, double now)
    cdef _join(self, Channel client, Channel backend, bint client_eof)
    cdef _read_client(self)
    cdef bint _read_backend(self) except -1
    cdef _balance(self)
    cdef _end(self, str ending)
    cdef _read_much(self)
    cdef _splice(self)
    cdef bint _empty(self, Transfer transfer) except -1
    cdef _read_pending_client(self)
    cdef _read_pending_backend(self)
    cpdef keep_alive(self)
