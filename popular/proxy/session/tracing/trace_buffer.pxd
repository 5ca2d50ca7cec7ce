cimport cython

from popular.proxy.session.tracing.trace_filter cimport TraceFilter
from supervisor.system cimport Clock

cdef long _MOST_KEPT, _MOST_WAITING, _OCTETS_OF_EACH, _OCTETS_OF_ENTRY

cdef class KeptThing:
    cdef public KeptThing before
    cdef public str leg
    cdef public object lines, said
    cdef public tuple facts
    cdef public double moment

cdef class TraceBuffer:
    cdef public object _registry
    cdef public Clock _clock
    cdef public KeptThing _kept
    cdef public list _beginning, _text, matched
    cdef public bint quiet
    cdef public str _vserv, sid
    cdef public tuple _peer
    cdef public double _began, _began_at
    cdef public long _beginning_left_out, _beginning_octets, _left_out, _length, _octets, _waiting
    cdef _set_up(self, registry, TraceFilter in_force, double now)
    cpdef begin(self, str sid, tuple peer, str vserv)
    cpdef add_traces(self, list traces)
    cpdef keep(self, str leg, lines, bytes said)
    cpdef keep_now(self, str leg, lines, bytes said)
    cpdef tell(self, str text, tuple facts=*)
    cpdef log(self, str name, fields)
    cpdef was_at(self, double moment)
    @cython.locals(matched=list, one=KeptThing)
    cdef _keep(self, str leg, lines, said, tuple facts)
    cdef _forget_login(self)
    @cython.locals(one=KeptThing)
    cdef _release(self)
    cpdef flush(self)
