cdef class TypedRules:
    cdef public str defaultns, fallback, namespace, protocol, state, vserv
    cdef public bytes greeting
    cdef public object backends, offers, trusted
    cdef public bint apop
    cdef public long maxcommands
    cdef public double checktimeout, connecttimeout
