cdef class TracesInForce:
    cdef public double until, late_until
    cdef public frozenset users
    cdef public bint by_backend, by_network, by_vserv
