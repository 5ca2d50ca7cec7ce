cimport cython

from popular.proxy.session.refusals cimport Refusals
from popular.proxy.session.telling cimport Teller

cdef class Machine(Teller):
    cdef public object _health_of, _polls, _refusals_of, poll
    cdef public double _patience
    cdef public Refusals _refusals
    cdef public bint _password_is_ours, _referred
    cpdef decided(self, decision)
    cdef _lead(self, route, bint fallback, bint vouched)
    cdef _follow(self, route, bint fallback, bint vouched)
    cdef bint _is_absorbed(self, backend, bint vouched) except -1
    cdef bint _is_plain_login(self, backend, bint vouched) except -1
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
    cpdef _deny(self, code)
    cpdef relay_ended(self, str ending)
