cimport cython

from popular.proxy.session.client_side cimport ClientSide
from supervisor.octets cimport find, part

cpdef str name_of(bytes octets)

cdef class Authorization(ClientSide):
    @cython.locals(keyword=bytes, argument=bytes, blank=Py_ssize_t, known=tuple, takes_none=bint, nothing=bint)
    cdef _command(self, bytes line)
    cdef _response(self, bytes line)
    cdef bint _may_be_longer(self) except -1
    cdef tuple _split_namespace(self, str name)
    cpdef _deny(self, code)
