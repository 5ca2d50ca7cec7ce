cimport cython

from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.tracing.inforce cimport TracesKnown
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.tracing.unremarkable_session cimport UnremarkableSession
from popular.proxy.session.tracing.recorded_lines cimport lines_for
from popular.proxy.session.tracing.recording cimport Recording
from popular.proxy.session.shared.runtime cimport VservRuntime
from popular.proxy.session.session cimport Session
from popular.proxy.session.tapped_relay cimport Tap

cdef class RecordingTap(Tap):
    cdef public Recording _recording

cdef class TraceableSession(UnremarkableSession):
    cdef public bint _greets, _told
    cpdef begin_traceable(self, int fd, Recording recording, TracesKnown recorder)
    @cython.locals(recording=Recording, machine=Machine)
    cpdef client_says(self, bytes data)
    @cython.locals(recording=Recording, machine=Machine)
    cpdef send(self, bytes data)
    @cython.locals(recording=Recording)
    cpdef send_backend(self, bytes data)
    @cython.locals(recording=Recording)
    cpdef backend_says(self, bytes data)
    @cython.locals(recording=Recording)
    cpdef ask(self, question, double seconds)
    @cython.locals(recording=Recording)
    cpdef _tell_decision(self, decision)
    cdef Recording _placed(self, str backend)
    @cython.locals(recording=Recording)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    @cython.locals(recording=Recording)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    @cython.locals(recording=Recording)
    cpdef logged_in(self)
    @cython.locals(recording=Recording)
    cpdef note(self, message, dict fields)
    @cython.locals(recording=Recording)
    cpdef hold(self, double seconds, double at_least=*)

@cython.locals(session=TraceableSession)
cpdef TraceableSession session_to_trace(VservRuntime runtime, long row_number, tuple peer)
