cimport cython

from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.events cimport SessionEvents

cdef class Verbs(SessionEvents):
    cdef public long row_number
    cpdef bint is_blocked(self, str address) except -1
    cpdef send(self, bytes data)
    cpdef yield_turn(self)
    cpdef start_tls(self, double seconds)
    cpdef await_header(self, double seconds)
    cpdef ask(self, question, double seconds)
    cpdef take_as_decided(self, decision)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    cpdef expect(self, double seconds)
    cpdef hold(self, double seconds, double at_least=*)
    cpdef send_backend(self, bytes data)
    cpdef start_backend_tls(self)
    cpdef leave_backend(self)
    cpdef logged_in(self)
    cpdef relay(self, bytes to_client, bytes to_backend)
    cpdef note(self, message, dict fields)
    cpdef count(self, str counter, label, str ident)
    cpdef finish(self, str ending, double seconds)
