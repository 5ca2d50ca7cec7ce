cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.backend.backend_login cimport BackendLogin
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.backend.contracts cimport HealthKnowledge
from popular.proxy.session.backend.rejections cimport UnexplainedRejections
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.typedrules cimport TypedRules
from popular.proxy.session.machine.verbs cimport Verbs

cdef long _ANSWERING, _NOT_READ, _NOTHING_SAID, _PENDING

cdef class MachineState:
    cdef public object _denied, _exchange, _hold, _offer, _own_limits, _probed, _proving, _question, _secret, phase, poll
    cdef public BackendRuntime _backend
    cdef public HealthKnowledge _health
    cdef public UnexplainedRejections _rejections
    cdef public Surroundings _around
    cdef public TypedRules _rules
    cdef public Verbs _verbs
    cdef public BackendLogin _dialogue
    cdef public tuple _routing
    cdef public str _certificate_name, _home, _language, _words, backend_id, target
    cdef public str peer_ip, _sid, mechanism, namespace, user
    cdef public unsigned int _bit, _commands_said, _errors, _failures, _may_follow, peer_port
    cdef public bint _backup_taken, _charged, _client_eof, _has_yielded, _in_tls, _password_is_ours, _referred, _utf8
    cdef public bint absorbed, asked_capa, counted
    cdef public double _asked_at, _patience
    cdef public long _row_number
    cdef public LineBuffer lines
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
    cdef _set_up_login(self)
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
