cimport cython

from supervisor.octets cimport find, word_at

cdef unsigned int _QUIT, _DELE, _RSET, _RETR, _TOP

@cython.locals(tail=bytes, count=Py_ssize_t)
cpdef int seen_of_mail_end(int seen, bytes piece) except -1

cdef class CommandWatch:
    cdef public bytes _answer, _line
    cdef public unsigned int _answers, _owed, deletes, open
    cdef public bint _status, fetches, quit
    cpdef see(self, bytes data)
    cdef _command(self, unsigned int verb)
    cpdef hear(self, bytes data)
    cdef _tell_status(self, bytes line)
