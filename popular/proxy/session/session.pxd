cimport cython

from popular.net.client cimport ClientConnection
from popular.net.deadlines cimport Deadlines
from popular.proxy.session.backend.backend_admission cimport BackendAdmission, BackendPlaces
from popular.proxy.session.backend.backend_connection cimport BackendConnection
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.login_parts cimport LoginParts
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.machine.verbs cimport Verbs
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.row cimport SessionRow, traffic_of
from popular.proxy.session.session_log cimport log_end
from popular.proxy.session.shared.module_chain cimport ModuleChain
from popular.proxy.session.shared.runtime cimport VservRuntime
from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport wall

cdef class PlainSession(Verbs):
    cdef public ClientConnection _client
    cdef public Deadlines _deadlines
    cdef public LoginParts _login
    cdef public Machine _machine
    cdef public Relay _relay
    cdef public SessionRow _row
    cdef public VservRuntime _runtime
    cdef public BackendPlaces _places
    cdef public object _agreed, _call, _decision
    cdef public tuple _to_relay
    cdef public str _ending, _via
    cdef public double _accepted_at
    cdef public bint _has_deferred, _over
    cdef _set_up(self, VservRuntime runtime, long row_number, tuple peer)
    @cython.locals(runtime=VservRuntime)
    cpdef begin(self, int fd)
    cpdef _taps(self)
    cpdef refresh(self)
    @cython.locals(client=ClientConnection)
    cdef _settle(self)
    cpdef fault(self, error)
    cdef _claim_turn(self)
    cpdef take_as_decided(self, decision)
    cpdef relay(self, bytes to_client, bytes to_backend)
    @cython.locals(to_relay=tuple)
    cdef _do_deferred(self)
    @cython.locals(runtime=VservRuntime)
    cpdef bint is_blocked(self, str address) except -1
    cpdef send(self, bytes data)
    @cython.locals(machine=Machine)
    cpdef client_says(self, bytes data)
    cpdef client_eof(self)
    cpdef client_took_all(self)
    cpdef client_broke(self)
    @cython.locals(runtime=VservRuntime, modules=ModuleChain)
    cpdef ask(self, question, double seconds)
    cpdef decided(self, decision)
    cpdef _tell_decision(self, decision)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    @cython.locals(runtime=VservRuntime, login=LoginParts, connection=BackendConnection)
    cdef _open(self, BackendRuntime backend, bint greets)
    cpdef expect(self, double seconds)
    @cython.locals(connection=BackendConnection)
    cpdef send_backend(self, bytes data)
    cpdef backend_connected(self)
    @cython.locals(machine=Machine)
    cpdef backend_says(self, bytes data)
    @cython.locals(runtime=VservRuntime, login=LoginParts, backend=BackendRuntime, now=double)
    cdef _time_login(self)
    @cython.locals(runtime=VservRuntime)
    cpdef logged_in(self)
    @cython.locals(client=ClientConnection, runtime=VservRuntime, login=LoginParts, relay=Relay)
    @cython.locals(backend=BackendRuntime, connection=BackendConnection, admission=BackendAdmission)
    cpdef _begin_relay(self, bytes to_client, bytes to_backend)
    cpdef relay_ended(self, str ending)
    cpdef note(self, message, dict fields)
    cpdef count(self, str counter, label, str ident)
    cdef _show(self)
    cpdef finish(self, str ending, double seconds)
    @cython.locals(relay=Relay)
    cdef _stop_waiting(self)
    @cython.locals(runtime=VservRuntime, context=WorkerContext, machine=Machine, seconds=double, traffic=tuple)
    cpdef end(self, str ending)
