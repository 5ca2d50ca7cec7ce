from popular.proxy.session.authorization cimport Authorization

cdef class Teller(Authorization):
    cdef public object _announced, _backend, _login, _own_limits
    cdef public long _row
    cdef public bint counted
    cdef public str backend, target
