cimport cython

from supervisor.system cimport Shared

cdef class BackendPlaces:
    cdef public object _sum
    cdef public Shared _shared
    cdef public Py_ssize_t _cell
    cdef public long _most
    cpdef bint try_acquire(self) except -1
    cpdef give_back(self)

cdef class BackendAdmission:
    cdef public BackendPlaces places
    cdef public object _sum
    cdef public Shared _shared
    cdef public Py_ssize_t _all, _cell
    cdef public long _most, _room
    cpdef try_admit(self)
    cpdef bint try_begin_waiting(self) except -1
    @cython.locals(most=long, room=long, waiting=long)
    cdef bint _is_crowded(self) except -1
    cpdef end_waiting(self)
