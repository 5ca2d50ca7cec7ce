cimport cython

from popular.proxy.session.backend_side cimport BackendSide

cdef class Machine(BackendSide):
    cdef public object _health_of, _polls, _probed, _refusals_of
    cdef public bint _led_to_backup
    cdef public str _home
    cpdef decided(self, decision)
    @cython.locals(takes=int)
    cdef bint _is_taken(self, health) except -1
    cpdef over(self)
    cdef _lead(self, route, bint fallback, bint vouched)
    cdef _follow(self, route, bint fallback, bint vouched)
    cdef bint _is_absorbed(self, backend, bint vouched) except -1
    cdef bint _is_plain_login(self, backend, bint vouched) except -1
