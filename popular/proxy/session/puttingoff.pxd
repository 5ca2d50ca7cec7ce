cimport cython

from popular.proxy.session.verbs cimport Verbs

cdef class PuttingOff(Verbs):
    cdef public object _decision, _left
    cdef public tuple _joined
    cdef public bint _has_left
    cdef _leave_nothing(self)
    cdef _leave(self)
    cpdef decide(self, decision)
    cpdef relay(self, bytes to_client, bytes to_backend)
    @cython.locals(joined=tuple)
    cdef _see_to_what_is_left(self)
    cpdef _tell_decision(self, decision)
    cpdef _join(self, bytes to_client, bytes to_backend)
