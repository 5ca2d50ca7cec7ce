cimport cython

from popular.proxy.session.inforce cimport TracesInForce
from supervisor.octets cimport word_at
from supervisor.system cimport Clock, wall

cdef long _MOST_KEPT, _MOST_WAITING, _OCTETS_OF_EACH, _OCTETS_OF_ENTRY
cdef unsigned int _PASS, _USER
cdef int _BLANK
cdef str _SHOWN_PASS
cdef frozenset _BARE
cdef list _NOBODY

@cython.locals(now=double, in_force=TracesInForce, recording=Recording, waits=bint, here=list, around=list)
cpdef recording_of(recorder, str vserv, address)

cdef class Recording:
    cdef public object _recorder, _passed
    cdef public Clock _clock
    cdef public TracesInForce _in_force
    cdef public list _kept, _text, matched
    cdef public bint _over, quiet
    cdef public str _asked_for, _vserv, sid
    cdef public tuple _peer
    cdef public double _began, _began_at
    cdef public long _left_out, _length, _octets
    cpdef comes_from(self, str address)
    cpdef names(self, str user)
    cpdef asks_for(self, str user)
    cpdef begin(self, str sid, tuple peer, str vserv)
    @cython.locals(backends=frozenset)
    cpdef goes_to(self, str backend)
    cpdef matches(self, list traces)
    @cython.locals(word=cython.uint)
    cpdef client_line(self, bytes line)
    cpdef keep(self, str leg, lines, bytes said)
    cpdef keep_now(self, str leg, lines, bytes said)
    cpdef tell(self, str text, tuple facts=*)
    cpdef log(self, str name, fields)
    @cython.locals(matched=list)
    cdef _keep(self, str leg, lines, said)
    cpdef flush(self)
    cpdef decide(self)
    cpdef bint listens(self) except -1
    cpdef client_says(self, bytes data)
    cpdef backend_says(self, bytes data)
    cpdef end(self, str ending)
