cimport cython

from popular.proxy.session.verbs cimport Verbs

cdef class PuttingOff(Verbs):
    cdef public object _decision, _call
    cdef public tuple _joined
    cdef public bint _has_put_off
    cdef _put_nothing_off(self)
    cdef _claim_turn(self)
    cpdef decide(self, decision)
    cpdef relay(self, bytes to_client, bytes to_backend)
    @cython.locals(joined=tuple)
    cdef _do_what_was_put_off(self)
    cpdef _tell_decision(self, decision)
    cpdef _join(self, bytes to_client, bytes to_backend)
