cimport cython

from popular.protocol.mailcheck cimport parse_mail_answer, question
from popular.proxy.session.events cimport SessionEvents
from supervisor.system cimport Clock, EventTaker, Poller, close, receive, send

cpdef put(int fd, bytes packet)

cdef class RestingRoom:
    cdef public long left

cdef class CheckSocket(EventTaker)

cdef class CheckSockets:
    cdef public object _loop
    cdef public Clock _clock
    cdef public Poller core
    cdef public tuple _address
    cdef public str _source
    cdef public list _resting
    cdef public RestingRoom _room
    cdef public bint _tidies
    cdef public double _rest, _seconds
    @cython.locals(packet=bytes, asked=CheckSocket)
    cpdef CheckSocket ask(self, str mailbox, SessionEvents owner)
    @cython.locals(resting=list, now=double, first=CheckSocket)
    cdef CheckSocket _rested(self)
    cpdef rest(self, CheckSocket answered)
    cpdef wakes(self, CheckSocket resting)

cdef class CheckSocket(EventTaker):
    cdef public CheckSockets _sockets
    cdef public SessionEvents _owner
    cdef public int fd
    cdef public double made, rests_since
    cpdef put(self, bytes packet, SessionEvents owner)
    cpdef bint is_silent(self) except -1
    @cython.locals(owner=SessionEvents)
    cpdef ready(self, int _fd, unsigned int _events)
    @cython.locals(answer=tuple)
    cdef _read(self, SessionEvents owner)
    cpdef give_up(self, SessionEvents owner)
    cpdef close(self)

@cython.locals(packet=bytes)
cpdef tuple heard(int fd)
