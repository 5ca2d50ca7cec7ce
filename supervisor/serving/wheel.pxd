cimport cython

cdef class Timed:
    cdef public list bucket
    cdef public unsigned int place
    cpdef on_time(self, double now)

cdef class Wheel:
    cdef public object _loop, _timer
    cdef public dict _buckets
    cdef public double _tick
    cdef public long _turned_to
    @cython.locals(tick=long, bucket=list)
    cpdef put(self, Timed thing, double when)
    @cython.locals(bucket=list, last=Timed, place=cython.uint)
    cpdef remove(self, Timed thing)
