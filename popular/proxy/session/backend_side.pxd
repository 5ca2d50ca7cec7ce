cimport cython

from popular.proxy.session.refusals cimport Refusals
from popular.proxy.session.surroundings cimport Surroundings
from popular.proxy.session.telling cimport Teller
from popular.proxy.session.verbs cimport Verbs

cdef class BackendSide(Teller):
    cdef public object _announced, _backend, _health, _in_common, _orders, poll
    cdef public double _patience
    cdef public Refusals _refusals
    cdef public bint _password_is_ours, _referred, counted
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
    cdef _log_in(self, route, backend)
    cdef _open_mailbox(self, route, backend)
    cpdef checked(self, mail, str reason)
    @cython.locals(seconds=double)
    cdef _connect(self, backend)
    cpdef connected(self)
    cpdef backend_says(self, bytes data)
    cdef _begin_login(self)
    cdef double _login_seconds(self, backend) except? -1
    cdef _join(self, joined)
    cpdef backend_failed(self, str reason, str word)
    cpdef _end(self, str ending)
    cpdef relay_ended(self, str ending)
