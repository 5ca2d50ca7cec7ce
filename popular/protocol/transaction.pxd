cimport cython

from supervisor.octets cimport find, namedtuple_of, part

cdef class Transaction:
    cdef public object _capabilities, _languages, _messages
    cdef public bytearray _marks
    cdef public long long _octets, _whole
    cdef public long _count
    cdef public bint _over
    cpdef bytes welcome(self)
    @cython.locals(blank=Py_ssize_t)
    cpdef command(self, bytes line)
    cpdef str _extent(self)

cdef _said(bytes reply, bint over)
