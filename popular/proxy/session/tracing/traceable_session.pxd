cimport cython

from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.tracing.trace_filter cimport TracesKnown
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.tracing.unremarkable_session cimport UnremarkableSession
from popular.proxy.session.tracing.client_lines cimport lines_for
from popular.proxy.session.tracing.session_trace cimport SessionTrace
from popular.proxy.session.shared.runtime cimport VservRuntime
from popular.proxy.session.optional_steps cimport Session
from popular.proxy.session.tapped_relay cimport Tap

cdef class RecordingTap(Tap):
    cdef public SessionTrace _session_trace

cdef class TraceableSession(UnremarkableSession):
    cdef public bint _greets, _told
    cpdef begin_traceable(self, int fd, SessionTrace session_trace, TracesKnown registry)
    @cython.locals(session_trace=SessionTrace, machine=Machine)
    cpdef client_says(self, bytes data)
    @cython.locals(session_trace=SessionTrace, machine=Machine)
    cpdef send(self, bytes data)
    @cython.locals(session_trace=SessionTrace)
    cpdef send_backend(self, bytes data)
    @cython.locals(session_trace=SessionTrace)
    cpdef backend_says(self, bytes data)
    @cython.locals(session_trace=SessionTrace)
    cpdef ask(self, question, double seconds)
    @cython.locals(session_trace=SessionTrace)
    cpdef _tell_decision(self, decision)
    cdef SessionTrace _placed(self, str backend)
    @cython.locals(session_trace=SessionTrace)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    @cython.locals(session_trace=SessionTrace)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    @cython.locals(session_trace=SessionTrace)
    cpdef logged_in(self)
    @cython.locals(session_trace=SessionTrace)
    cpdef note(self, message, dict fields)
    @cython.locals(session_trace=SessionTrace)
    cpdef hold(self, double seconds, double at_least=*)

@cython.locals(session=TraceableSession)
cpdef TraceableSession session_to_trace(VservRuntime runtime, long row_number, tuple peer)
