cimport cython

from popular.net.client cimport ClientConnection
from popular.net.deadlines cimport Deadlines
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.login_parts cimport LoginParts
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.machine.verbs cimport Verbs
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.row cimport SessionRow
from popular.proxy.session.shared.runtime cimport VservRuntime
from supervisor.system cimport wall

cdef class OptionalSteps(Verbs):
    cdef public ClientConnection _client
    cdef public Deadlines _deadlines
    cdef public LoginParts _login
    cdef public Machine _machine
    cdef public Relay _relay
    cdef public SessionRow _row
    cdef public VservRuntime _runtime
    cdef public object _agreed, _call, _reached, _reader
    cdef public str _ending, _via
    cdef public double _accepted_at, _tls_began
    cdef public bint _has_deferred, _over
    cdef _set_up_parts(self, VservRuntime runtime, long row_number, tuple peer)
    cdef _open_client(self, int fd)
    cdef _settle(self)
    cdef _show(self)
    cpdef end(self, str ending)
    cpdef fault(self, error)
    cdef _claim_turn(self)
    cpdef client_took_all(self)
    cpdef client_broke(self)
    cpdef hold(self, double seconds, double at_least=*)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    cpdef mail_checked(self, mail, str reason)
    cpdef leave_backend(self)
    cpdef _taps(self)
    cpdef note(self, message, dict fields)
    cpdef count(self, str counter, label, str ident)
    @cython.locals(relay=Relay)
    cpdef double idle_at(self) except? -1
    @cython.locals(relay=Relay)
    cpdef refresh(self)
