from popular.proxy.session.typedrules cimport TypedRules

cdef class Surroundings:
    cdef public object announced, health, in_common, limits, orders, polls, refusals
    cdef public TypedRules rules
    cdef public bint limited
