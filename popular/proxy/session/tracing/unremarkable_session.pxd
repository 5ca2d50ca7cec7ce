cimport cython

from popular.protocol.lines cimport single_line
from popular.proxy.session.tracing.trace_filter cimport TracesKnown, TraceFilter
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.tracing.client_lines cimport ClientLines, lines_for
from popular.proxy.session.tracing.session_trace cimport SessionTrace, session_trace_of_later
from popular.proxy.session.optional_steps cimport Session
from supervisor.octets cimport word_at

cdef unsigned int _PASS, _USER
cdef int _BLANK

cdef class UnremarkableSession(Session):
    cdef public TracesKnown _registry
    cdef public TraceFilter _in_force
    cdef public SessionTrace _session_trace
    cdef public ClientLines _lines
    cdef public bint _is_unremarkable, _may_be_wanted
    cdef public bytes _greeting, _name_line, _reply
    cdef public str _home, _named, _of, _target
    cdef public double _asked_at, _decided_at, _name_at, _pass_at
    cdef _begin_unremarkable(self, TracesKnown registry)
    @cython.locals(word=cython.uint)
    cdef bint _note_command_if_unremarkable(self, bytes data) except -1
    @cython.locals(machine=Machine)
    cdef bint _note_reply_if_unremarkable(self, bytes data) except -1
    cdef bint _note_decision_if_unremarkable(self, decision) except -1
    cdef bint _is_unremarkable_at(self, str backend) except -1
    cdef SessionTrace _awake_session_trace(self)
    @cython.locals(session_trace=SessionTrace)
    cdef SessionTrace _wake(self)
    cdef _forget_first_words(self)
