cimport cython

cdef class Timed:
    cdef public dict bucket
    cpdef on_time(self, double now)

cdef class Wheel:
    cdef public object _loop, _timer
    cdef public dict _buckets
    cdef public double _tick
    cdef public long _turned_to
    @cython.locals(tick=long, bucket=dict)
    cpdef put(self, Timed thing, double when)
    cpdef remove(self, Timed thing)
