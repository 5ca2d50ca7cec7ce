cdef class Wheel:
    cdef public object _loop, _timer
    cdef public dict _buckets
    cdef public long _turned_to
    cpdef put(self, thing, double when)
