cimport cython

from popular.proxy.session.backend_connection cimport BackendConnection
from popular.proxy.session.runtime cimport VservRuntime
from supervisor.system cimport Observer

cdef class Login:
    cdef public double _began
    cdef public object _asked, _question, _waiting
    cdef public str _sid
    cdef public VservRuntime _runtime
    cdef public BackendConnection backend
    cpdef ask(self, question, decided)
    @cython.locals(now=double, observer=Observer)
    cpdef connected(self, str backend)
    @cython.locals(observer=Observer)
    cpdef BackendConnection let_in(self, str backend)
    cpdef str send(self, bytes data)
    cpdef leave_backend(self)
    cpdef wait_no_more(self)
    cpdef hears(self, bytes data)
    cpdef keep_alive(self)
    cpdef close(self)
