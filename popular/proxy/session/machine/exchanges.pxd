from popular.proxy.session.machine.authorization cimport Authorization

cdef class Exchanges(Authorization):
    cdef _response(self, bytes line)
