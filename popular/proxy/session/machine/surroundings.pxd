from popular.proxy.session.machine.typedrules cimport TypedRules

cdef class Surroundings:
    cdef public object in_common, limits, orders, polls, times
    cdef public dict backend_runtimes
    cdef public TypedRules rules
    cdef public bint counts_sessions, counts_guesses
