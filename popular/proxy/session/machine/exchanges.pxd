from popular.proxy.session.machine.authorization cimport Authorization

cdef class Exchanges(Authorization):
    cdef _response(self, bytes line)
    cdef bint _may_be_longer(self) except -1
