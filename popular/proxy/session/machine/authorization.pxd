cimport cython

from popular.proxy.session.machine.client_side cimport ClientSide
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.typedrules cimport TypedRules
from popular.proxy.session.machine.verbs cimport Verbs
from supervisor.octets cimport find, is_plain, namedtuple_of, part, word_at

cpdef str name_of(bytes octets)

cdef class CommandRow:
    cdef public str keyword
    cdef public object answer
    cdef public bint alone, blanks_count, with_argument
    cdef bint has_nothing(self, bytes argument) except -1

cdef long _BLANK
cdef dict _COMMANDS
cdef CommandRow _PASS, _USER
cdef unsigned int _PASS_WORD, _USER_WORD

@cython.locals(word=cython.uint, keyword=bytes)
cdef CommandRow _row_of(bytes line, Py_ssize_t blank)

cdef tuple _NOT_SHOWN
cdef bytes _SEND_PASS

cdef class Authorization(ClientSide):
    cdef public object _denied
    cdef public str _words
    cdef public unsigned int _commands, _failures
    cdef public double _asked_at
    cdef public bint _charged
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
    @cython.locals(argument=bytes, blank=Py_ssize_t, known=CommandRow)
    cdef _command(self, bytes line)
    cdef _name(self, bytes argument)
    cdef tuple _split_namespace(self, str name)
    cdef _put(self, question)
    cdef _ask(self, question)
    cdef _note_time(self)
    @cython.locals(rules=TypedRules)
    cdef _password(self, bytes argument)
    cpdef _deny(self, code)
