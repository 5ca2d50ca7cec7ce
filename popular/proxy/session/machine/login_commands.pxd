cimport cython

from supervisor.octets cimport is_plain, part, word_at

cdef class CommandRow:
    cdef public str keyword
    cdef public bint alone, blanks_count, with_argument
    cdef bint has_nothing(self, bytes argument) except -1

cdef long _BLANK
cdef dict _COMMANDS
cdef CommandRow _PASS, _USER
cdef unsigned int _PASS_WORD, _USER_WORD

@cython.locals(word=cython.uint, keyword=bytes)
cpdef CommandRow row_of(bytes line, Py_ssize_t blank)

cpdef str name_of(bytes octets)
