from popular.proxy.session.backend_side cimport BackendSide

cdef class Machine(BackendSide):
    cdef public object _health_of, _polls, _refusals_of
    cdef public bint _led_to_backup
    cdef public str _home
    cpdef decided(self, decision)
    cdef _lead(self, route, bint fallback, bint vouched)
    cdef _follow(self, route, bint fallback, bint vouched)
    cdef bint _is_absorbed(self, backend, bint vouched) except -1
    cdef bint _is_plain_login(self, backend, bint vouched) except -1
