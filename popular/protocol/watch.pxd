cimport cython

from supervisor.octets cimport find, word_at

cdef unsigned int _BLANK, _QUIT, _DELE, _RSET, _RETR, _TOP
cdef int _LF
cdef Py_ssize_t _LOOK, _WORD

@cython.locals(tail=bytes, count=Py_ssize_t)
cpdef int seen_of_mail_end(int seen, bytes piece) except -1

cdef class CommandWatch:
    cdef public bytes _answer, _line
    cdef public unsigned int _answers, _last, _owed, deletes, open
    cdef public bint _status, fetches, quit, unsure
    cpdef see(self, bytes data)
    @cython.locals(verb=cython.uint)
    cdef _command(self, bytes line)
    cpdef spoke(self, bytes said=*)
    cpdef hear(self, bytes data)
    @cython.locals(is_later=bint)
    cdef _tell_status(self, bytes line)
    cdef _take_back(self)
