from popular.proxy.session.machine.client_side cimport ClientSide

cdef class FailedLogins(ClientSide):
    cpdef _deny(self, code)
    cpdef backend_failed(self, str reason, str word)
