cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.backend.backend_login cimport BackendLogin
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.typedrules cimport TypedRules
from popular.proxy.session.machine.verbs cimport Verbs

cdef long _ANSWERING, _NOT_READ, _NOTHING_SAID, _PENDING

cdef class MachineState:
    cdef public object _exchange, _hold, _offer, _proving, _question, _secret, phase
    cdef public Surroundings _around
    cdef public TypedRules _rules
    cdef public Verbs _verbs
    cdef public BackendLogin _dialogue
    cdef public tuple _routing
    cdef public str _certificate_name, _language, peer_ip, _sid, mechanism, namespace, user
    cdef public unsigned int _bit, _errors, _may_follow, peer_port
    cdef public bint _eof, _has_yielded, _in_tls, _utf8, absorbed, asked_capa
    cdef public LineBuffer lines
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
    cpdef bint wants_input(self) except -1
    cpdef bint answers(self) except -1
    cdef bint _takes_lines(self) except -1
    cdef bint _owes_answer(self) except -1
    cdef bint _expects_first_word(self) except -1
    @cython.locals(number=long, bit=long)
    cpdef _move(self, phase)
    cdef _forget(self)
    cpdef _end(self, str ending)
    cpdef _null_byte(self)
    cdef _error(self, str text)
