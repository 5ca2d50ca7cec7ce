cimport cython

from popular.proxy.session.backend_connection cimport BackendConnection
from popular.proxy.session.backend_queue cimport BackendQueue
from popular.proxy.session.events cimport SessionEvents
from popular.proxy.session.runtime cimport VservRuntime
from supervisor.system cimport Observer

cdef class Login:
    cdef public double _began
    cdef public object _asked, _question
    cdef public BackendQueue _queue
    cdef public bint _waits
    cdef public SessionEvents _events
    cdef public str _sid
    cdef public VservRuntime _runtime
    cdef public BackendConnection backend
    @cython.locals(session=object)
    cpdef ask(self, question)
    @cython.locals(queue=BackendQueue)
    cpdef tuple wait_for(self, backend)
    @cython.locals(connection=BackendConnection, runtime=VservRuntime)
    cpdef tuple connect(self, backend, bint greets, bytes header)
    @cython.locals(now=double, observer=Observer)
    cpdef connected(self, str backend)
    @cython.locals(observer=Observer)
    cpdef BackendConnection let_in(self, str backend)
    cpdef str send(self, bytes data)
    cpdef leave_backend(self)
    @cython.locals(queue=BackendQueue)
    cpdef wait_no_more(self)
    cpdef hears(self, bytes data)
    cpdef keep_alive(self)
    cpdef close(self)
