cimport cython

from popular.net.channel cimport Channel
from popular.proxy.session.events cimport SessionEvents
from supervisor.octets cimport joined
from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport EventTaker, Poller, dial

cdef class BackendConnection(EventTaker):
    cdef public WorkerContext _context
    cdef public object _extras
    cdef public bytes _unsaid
    cdef public SessionEvents _owner
    cdef public bint greets
    cdef public Channel channel
    cpdef open(self, backend, bint greets, extras)
    @cython.locals(fd=int)
    cpdef int _dial(self, backend) except -1
    cdef _syscalls(self)
    @cython.locals(core=Poller, waits=bint)
    cpdef _open_channel(self, int fd, bint greets, extras)
    cpdef str send(self, bytes data)
    cpdef turn_over(self)
    cdef str _say(self, bytes data)
    cpdef close(self)
    cdef _break(self, str reason, str word=*)
    cpdef ready(self, int _fd, unsigned int events)
    @cython.locals(data=bytes)
    cdef _read(self)
    cdef _heard(self, extras)
