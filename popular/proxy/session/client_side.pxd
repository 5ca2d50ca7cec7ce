cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.verbs cimport Verbs
from supervisor.octets cimport find, part

cdef class ClientSide:
    cdef public object _held, _limits, _rules, _secret, _token, _transaction, phase
    cdef public Verbs _verbs
    cdef public str _certificate_name, _peer_ip, _sid, namespace, user
    cdef public long _commands, _errors, _failures, _peer_port
    cdef public bint _charged, _eof, _rests, _tls
    cdef public LineBuffer lines
    cpdef bint listens(self) except -1
    @cython.locals(before=long, after=long, mask=long)
    cpdef _move(self, phase)
    cpdef _end(self, str ending)
    cpdef begin(self)
    cpdef header_failed(self, str reason)
    cdef _greet(self)
    cpdef client_says(self, bytes data)
    cpdef client_eof(self)
    @cython.locals(lines=LineBuffer, left=long, line=bytes)
    cpdef _go_on(self)
    cpdef _null_byte(self)
    cdef _simulated(self, bytes line)
    @cython.locals(keyword=bytes, argument=bytes, blank=Py_ssize_t, known=tuple, takes_none=bint)
    cdef _command(self, bytes line)
    cdef _error(self, str text)
    cdef bint _needs_tls(self) except -1
    cdef tuple _split_namespace(self, str name)
    cpdef _simulate(self)
    cdef _start_tls(self)
