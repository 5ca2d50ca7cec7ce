from supervisor.system cimport Clock

cdef class TraceFilter:
    cdef public double until, late_until
    cdef public Clock clock
    cdef public frozenset backends, users, vservs
    cdef public set strangers
    cdef public bint by_backend, by_network, by_vserv
    cpdef bint is_elsewhere(self, str address) except -1
    cpdef found_elsewhere(self, str address)

cdef class TracesKnown:
    cdef public TraceFilter in_force
