cimport cython

from popular.proxy.session.backend_runtime cimport BackendRuntime
from popular.proxy.session.machine cimport Machine
from popular.proxy.session.recorded_lines cimport RecordedLines, lines_for
from popular.proxy.session.recording cimport Recording
from popular.proxy.session.session cimport Session
from popular.proxy.session.tapped_relay cimport Tap

cdef class RecordingTap(Tap):
    cdef public Recording _recording

cdef class RecordedSession(Session):
    cdef public Recording _recording
    cdef public RecordedLines _lines
    cdef public bint _greets, _told
    @cython.locals(machine=Machine)
    cpdef begin_recorded(self, int fd, Recording recording)
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
    @cython.locals(recording=Recording)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    @cython.locals(recording=Recording)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    @cython.locals(recording=Recording)
    cpdef logged_in(self)
