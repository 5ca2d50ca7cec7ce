cimport cython

from popular.proxy.session.client_side cimport ClientSide
from popular.proxy.session.typedrules cimport TypedRules
from supervisor.octets cimport find, named, part

cpdef str name_of(bytes octets)

cdef class CommandRow:
    cdef public str keyword
    cdef public object answer
    cdef public bint alone, blanks_count, with_argument
    cdef bint has_nothing(self, bytes argument) except -1

cdef long _BLANK
cdef dict _COMMANDS
cdef CommandRow _PASS, _USER
cdef tuple _NOT_SHOWN
cdef bytes _SEND_PASS

cdef class Authorization(ClientSide):
    @cython.locals(keyword=bytes, argument=bytes, blank=Py_ssize_t, known=CommandRow)
    cdef _command(self, bytes line)
    cdef _response(self, bytes line)
    cdef bint _may_be_longer(self) except -1
    cdef _name(self, bytes argument)
    cdef tuple _split_namespace(self, str name)
    @cython.locals(rules=TypedRules)
    cdef _password(self, bytes argument)
    cpdef _deny(self, code)
