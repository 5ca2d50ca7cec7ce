cimport cython

from popular.protocol.lines cimport LineBuffer
from popular.proxy.session.machine.failed_logins cimport FailedLogins
from popular.proxy.session.machine.typedrules cimport TypedRules
from supervisor.octets cimport find, is_plain, namedtuple_of, part, word_at

cdef class CommandRow:
    cdef public str keyword
    cdef public bint alone, blanks_count, with_argument
    cdef bint takes(self, bytes argument) except -1
    cdef bint _is_none(self, bytes argument) except -1

cdef long _BLANK
cdef dict _COMMANDS
cdef CommandRow _PASS, _USER
cdef unsigned int _PASS_WORD, _USER_WORD
cdef dict _ANSWERS
cdef tuple _NOT_SHOWN
cdef bytes _SEND_PASS

cdef class Authorization(FailedLogins):
    cpdef begin(self)
    cdef _greet(self)
    cdef bint _may_be_longer(self) except -1
    cpdef client_says(self, bytes data)
    cpdef client_eof(self)
    cdef bint _is_gone(self) except -1
    @cython.locals(lines=LineBuffer, left=long, line=bytes)
    cpdef _answer_lines(self)
    @cython.locals(argument=bytes, blank=Py_ssize_t, known=CommandRow)
    cdef _command(self, bytes line)
    cdef _response(self, bytes line)
    cdef _name(self, bytes argument)
    cdef tuple _split_namespace(self, str name)
    @cython.locals(rules=TypedRules)
    cdef _password(self, bytes argument)
    cdef _put(self, question)
    cdef _ask(self, question)
    cdef _note_time(self)

@cython.locals(word=cython.uint, keyword=bytes)
cdef CommandRow _row_of(bytes line, Py_ssize_t blank)

cpdef str name_of(bytes octets)
