cimport cython

from popular.protocol.lines cimport single_line
from popular.proxy.session.tracing.trace_filter cimport TracesKnown, TraceFilter
from popular.proxy.session.tracing.trace_buffer cimport TraceBuffer
from supervisor.octets cimport word_at
from supervisor.system cimport wall

cdef unsigned int _CAPA, _NOOP, _PASS, _QUIT, _STLS, _USER
cdef int _BLANK
cdef str _SHOWN_PASS

@cython.locals(now=double, in_force=TraceFilter, session_trace=SessionTrace, waits=bint, here=list, around=list)
cpdef session_trace_of(TracesKnown registry, str vserv, address)

@cython.locals(session_trace=SessionTrace)
cpdef SessionTrace session_trace_of_later(TracesKnown registry, TraceFilter in_force, double began)

cdef class SessionTrace(TraceBuffer):
    cdef public object _passed
    cdef public TraceFilter _in_force
    cdef public bint _over
    cdef public str _asked_for, _asked_in
    cpdef address_known(self, str address)
    cpdef user_named(self, str user)
    cpdef login_wanted(self, str namespace, str user)
    @cython.locals(backends=frozenset)
    cpdef backend_chosen(self, str backend)
    cpdef settle_ownership(self)
    @cython.locals(length=Py_ssize_t)
    cpdef bint take_simple_command(self, bytes data) except -1
    cpdef client_line(self, bytes line)
    cpdef password_said(self)
    @cython.locals(word=cython.uint)
    cdef bint _take_if_plain(self, bytes line, Py_ssize_t length) except -1
    cpdef asking(self, str namespace, str user)
    cpdef answered(self, str kind, str backend, target)
    cpdef bint begin_relay(self) except -1
    cpdef client_says(self, bytes data)
    cpdef backend_says(self, bytes data)
    cpdef end(self, str ending)
