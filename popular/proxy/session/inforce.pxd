from supervisor.system cimport Clock

cdef class TracesInForce:
    cdef public double until, late_until
    cdef public Clock clock
    cdef public frozenset users
    cdef public bint by_backend, by_network, by_vserv
