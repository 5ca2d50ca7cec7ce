from popular.proxy.session.authorization cimport Authorization

cdef class Teller(Authorization):
    cdef public object _announced, _backend
    cdef public str backend, target
