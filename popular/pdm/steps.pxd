cpdef bint takes(module, str kind) except -1

cpdef bint is_sound(reply) except -1

cdef bint _is_sound_route(route) except -1

cdef bint _are_sound_limits(limits) except -1

cdef bint _is_time(seconds) except -1

cdef class Record:
    cdef public list asked, failed
    cpdef forget(self)
    cpdef add(self, step, double seconds, heard)
