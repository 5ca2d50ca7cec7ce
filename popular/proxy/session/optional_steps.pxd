cimport cython

from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.session cimport PlainSession
from popular.proxy.session.shared.runtime cimport VservRuntime

cdef class Session(PlainSession):
    cdef public object _reached, _reader
    cdef public double _tls_began
    cdef _set_up(self, VservRuntime runtime, long row_number, tuple peer)
    cdef _stop_waiting(self)
    cpdef hold(self, double seconds, double at_least=*)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    cpdef mail_checked(self, mail, str reason)
    cpdef leave_backend(self)
    cpdef _taps(self)
    @cython.locals(relay=Relay)
    cpdef double idle_at(self) except? -1
    @cython.locals(relay=Relay)
    cpdef refresh(self)
