cimport cython

from popular.proxy.session.tracing.inforce cimport TracesKnown, TracesInForce
from supervisor.octets cimport find, word_at
from supervisor.system cimport Clock, wall

cdef long _MOST_KEPT, _MOST_WAITING, _OCTETS_OF_EACH, _OCTETS_OF_ENTRY
cdef unsigned int _CAPA, _NOOP, _PASS, _QUIT, _STLS, _USER
cdef int _BLANK, _CR, _LF
cdef str _SHOWN_PASS
cdef list _NOBODY

cdef class KeptThing:
    cdef public KeptThing before
    cdef public str leg
    cdef public object lines, said
    cdef public tuple facts
    cdef public double moment

@cython.locals(now=double, in_force=TracesInForce, recording=Recording, waits=bint, here=list, around=list)
cpdef recording_of(TracesKnown recorder, str vserv, address)

@cython.locals(recording=Recording)
cpdef Recording recording_of_later(TracesKnown recorder, TracesInForce in_force, double began)

cdef class Recording:
    cdef public object _recorder, _passed
    cdef public Clock _clock
    cdef public TracesInForce _in_force
    cdef public KeptThing _kept
    cdef public list _beginning, _text, matched
    cdef public bint _over, quiet
    cdef public str _asked_for, _asked_in, _vserv, sid
    cdef public tuple _peer
    cdef public double _began, _began_at
    cdef public long _beginning_left_out, _beginning_octets, _left_out, _length, _octets, _waiting
    cdef _set_up(self, recorder, TracesInForce in_force, double now)
    cpdef was_at(self, double moment)
    cpdef asking(self, str namespace, str user)
    cpdef answered(self, str kind, str backend, target)
    cpdef comes_from(self, str address)
    cpdef names(self, str user)
    cpdef asks_for(self, str namespace, str user)
    cpdef begin(self, str sid, tuple peer, str vserv)
    @cython.locals(backends=frozenset)
    cpdef goes_to(self, str backend)
    cpdef matches(self, list traces)
    @cython.locals(end=Py_ssize_t)
    cpdef bint hears(self, bytes data) except -1
    cpdef client_line(self, bytes line)
    @cython.locals(word=cython.uint)
    cdef bint _is_plain(self, bytes line, Py_ssize_t length) except -1
    cpdef keep(self, str leg, lines, bytes said)
    cpdef keep_now(self, str leg, lines, bytes said)
    cpdef tell(self, str text, tuple facts=*)
    cpdef log(self, str name, fields)
    @cython.locals(matched=list, one=KeptThing)
    cdef _keep(self, str leg, lines, said, tuple facts)
    @cython.locals(one=KeptThing)
    cdef _release(self)
    cpdef flush(self)
    cpdef decide(self)
    cpdef bint listens(self) except -1
    cpdef client_says(self, bytes data)
    cpdef backend_says(self, bytes data)
    cpdef end(self, str ending)
