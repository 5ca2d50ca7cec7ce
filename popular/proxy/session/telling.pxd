from popular.proxy.session.client_side cimport ClientSide

cdef class Teller(ClientSide):
    cdef public object _announced, _backend
    cdef public str backend, target
