cimport cython

from supervisor.octets cimport namedtuple_of

cdef Py_ssize_t _RECORD_HEAD, _LONGEST_FRAGMENT
cdef int _CLIENT_HELLO, _SERVER_NAME, _ALPN, _HOST_NAME

@cython.locals(position=Py_ssize_t, fragment=Py_ssize_t, size=Py_ssize_t, length=Py_ssize_t, message=bytes)
cpdef read_hello(bytes data)

@cython.locals(end=Py_ssize_t, length=Py_ssize_t, place=Py_ssize_t)
cdef Py_ssize_t _past(bytes data, Py_ssize_t at, Py_ssize_t octets, Py_ssize_t limit) except -1

@cython.locals(end=Py_ssize_t, after=Py_ssize_t, kind=cython.int)
cdef _parse(bytes data, Py_ssize_t at, Py_ssize_t limit)

@cython.locals(end=Py_ssize_t, after=Py_ssize_t, name=bytes)
cdef _server_name(bytes data, Py_ssize_t at, Py_ssize_t limit)

@cython.locals(end=Py_ssize_t, after=Py_ssize_t, offered=list)
cdef _protocols(bytes data, Py_ssize_t at, Py_ssize_t limit)
