cimport cython

from popular.proxy.session.tracing.inforce cimport TracesKnown, TracesInForce
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.tracing.recorded_lines cimport RecordedLines, lines_for
from popular.proxy.session.tracing.recording cimport Recording, recording_of_later
from popular.proxy.session.session cimport Session
from supervisor.octets cimport find, word_at

cdef unsigned int _PASS, _USER
cdef int _BLANK, _CR, _LF

cdef class PassingSession(Session):
    cdef public TracesKnown _recorder
    cdef public TracesInForce _in_force
    cdef public Recording _recording
    cdef public RecordedLines _lines
    cdef public bint _is_open, _is_passing
    cdef public bytes _greeting, _name_line, _reply
    cdef public str _home, _named, _of, _target
    cdef public double _asked_at, _decided_at, _name_at, _pass_at
    cdef _pass_by(self, TracesKnown recorder)
    @cython.locals(end=Py_ssize_t, word=cython.uint, machine=Machine)
    cdef bint _lets_say(self, bytes data) except -1
    @cython.locals(machine=Machine)
    cdef bint _lets_send(self, bytes data) except -1
    cdef bint _lets_decide(self, decision) except -1
    cdef bint _lets_go_to(self, str backend) except -1
    cdef Recording _heard(self)
    @cython.locals(recording=Recording)
    cdef Recording _wake(self)
    cdef _is_gone_by(self)
