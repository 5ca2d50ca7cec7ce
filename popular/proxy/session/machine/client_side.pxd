cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.typedrules cimport TypedRules
from popular.proxy.session.machine.verbs cimport Verbs

cdef long _ANSWERING, _NOT_READ
cdef dict _AT_ONCE
cdef bytes _QUIT

cdef class ClientSide:
    cdef public object _exchange, _hold, _offer, _proving, _question, _secret, phase
    cdef public Surroundings _around
    cdef public TypedRules _rules
    cdef public Verbs _verbs
    cdef public tuple _routing
    cdef public str _certificate_name, _language, peer_ip, _sid, mechanism, namespace, user
    cdef public unsigned int _bit, _errors, _may_follow, peer_port
    cdef public bint _eof, _rests, _in_tls, _utf8, absorbed, asked
    cdef public LineBuffer lines
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
    cpdef bint listens(self) except -1
    cpdef bint answers(self) except -1
    @cython.locals(number=long, bit=long)
    cpdef _move(self, phase)
    cpdef _end(self, str ending)
    cpdef begin(self)
    cpdef header_failed(self, str reason)
    cdef _greet(self)
    cpdef client_says(self, bytes data)
    cpdef client_eof(self)
    cdef bint _is_gone(self) except -1
    @cython.locals(lines=LineBuffer, left=long, line=bytes)
    cpdef _answer_lines(self)
    cpdef _null_byte(self)
    @cython.locals(reply=bytes, over=bint)
    cdef _simulated(self, bytes line)
    cdef _command(self, bytes line)
    cdef _response(self, bytes line)
    cdef bint _may_be_longer(self) except -1
    cdef _forget(self)
    cdef _logged_in(self)
    cdef _error(self, str text)
    cpdef _simulate(self)
    cdef _start_tls(self)
