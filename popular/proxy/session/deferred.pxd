cimport cython

from popular.proxy.session.machine.verbs cimport Verbs

cdef class DeferredVerbs(Verbs):
    cdef public object _decision, _call
    cdef public tuple _to_relay
    cdef public bint _has_deferred
    cdef _defer_nothing(self)
    cdef _claim_turn(self)
    cpdef decide(self, decision)
    cpdef relay(self, bytes to_client, bytes to_backend)
    @cython.locals(to_relay=tuple)
    cdef _do_deferred(self)
    cpdef _tell_decision(self, decision)
    cpdef _begin_relay(self, bytes to_client, bytes to_backend)
