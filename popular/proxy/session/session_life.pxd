cimport cython

from popular.net.client cimport ClientConnection
from popular.net.deadlines cimport Deadlines
from popular.proxy.session.backend.backend_admission cimport BackendPlaces
from popular.proxy.session.login_parts cimport LoginParts
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.machine.verbs cimport Verbs
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.row cimport SessionRow, traffic_of
from popular.proxy.session.shared.runtime cimport VservRuntime
from popular.proxy.session.session_log cimport log_end
from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport wall

cdef class SessionLife(Verbs):
    cdef public ClientConnection _client
    cdef public Deadlines _deadlines
    cdef public LoginParts _login
    cdef public Machine _machine
    cdef public Relay _relay
    cdef public SessionRow _row
    cdef public VservRuntime _runtime
    cdef public BackendPlaces _places
    cdef public object _reached, _reader, _agreed, _decision, _call
    cdef public tuple _to_relay
    cdef public str _ending, _via
    cdef public double _accepted_at, _tls_began
    cdef public bint _has_deferred, _over
    cdef _set_up(self, VservRuntime runtime, long row_number, tuple peer)
    @cython.locals(runtime=VservRuntime)
    cpdef begin(self, int fd)
    @cython.locals(client=ClientConnection)
    cdef _settle(self)
    cpdef fault(self, error)
    cdef _claim_turn(self)
    cpdef conclude(self, decision)
    cpdef relay(self, bytes to_client, bytes to_backend)
    @cython.locals(to_relay=tuple)
    cdef _do_deferred(self)
    cpdef _tell_decision(self, decision)
    cpdef _begin_relay(self, bytes to_client, bytes to_backend)
    @cython.locals(runtime=VservRuntime)
    cpdef bint is_blocked(self, str address) except -1
    cpdef expect(self, double seconds)
    cpdef hold(self, double seconds, double at_least=*)
    cpdef note(self, message, dict fields)
    cpdef count(self, str counter, label, str ident)
    cpdef finish(self, str ending, double seconds)
    @cython.locals(relay=Relay)
    cpdef double idle_at(self) except? -1
    @cython.locals(relay=Relay)
    cpdef refresh(self)
    cdef _show(self)
    @cython.locals(relay=Relay)
    cdef _stop_waiting(self)
    @cython.locals(runtime=VservRuntime, context=WorkerContext, machine=Machine, seconds=double, traffic=tuple)
    cpdef end(self, str ending)
