cimport cython

from popular.net.channel cimport Channel
from popular.net.client cimport ClientConnection
from popular.net.deadlines cimport Deadlines
from popular.proxy.session.backend.backend_queue cimport BackendQueue
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.login cimport Login
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.row cimport SessionRow, moved_by
from popular.proxy.session.runtime cimport VservRuntime
from popular.proxy.session.session_log cimport log_end, milliseconds
from popular.proxy.session.machine.verbs cimport PuttingOff
from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport wall

cdef class Session(PuttingOff):
    cdef public ClientConnection _client
    cdef public Deadlines _deadlines
    cdef public Login _login
    cdef public Machine _machine
    cdef public Relay _relay
    cdef public SessionRow _row
    cdef public VservRuntime _runtime
    cdef public BackendQueue _queue
    cdef public object _reached, _reader, _agreed
    cdef public str _ending, _via
    cdef public double _accepted_at, _tls_began
    cdef public bint _over
    cdef _set_up(self, VservRuntime runtime, long token, tuple peer)
    @cython.locals(runtime=VservRuntime)
    cpdef begin(self, int fd)
    @cython.locals(client=ClientConnection, facts=tuple)
    cdef _settle(self)
    cpdef fault(self, error)
    @cython.locals(runtime=VservRuntime)
    cpdef bint is_blocked(self, str address) except -1
    cpdef send(self, bytes data)
    cpdef ask(self, question, double seconds)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    cpdef expect(self, double seconds)
    cpdef hold(self, double seconds, double at_least=*)
    cpdef send_backend(self, bytes data)
    cpdef leave_backend(self)
    @cython.locals(runtime=VservRuntime)
    cpdef logged_in(self)
    cpdef note(self, message, dict fields)
    cpdef count(self, str counter, label, str ident)
    cpdef finish(self, str ending, double seconds)
    @cython.locals(machine=Machine)
    cpdef client_says(self, bytes data)
    cpdef client_ended(self)
    cpdef client_took_all(self)
    cpdef client_broke(self)
    cpdef decided(self, decision)
    cpdef _tell_decision(self, decision)
    cpdef mail_checked(self, mail, str reason)
    cpdef backend_connected(self)
    @cython.locals(machine=Machine)
    cpdef backend_says(self, bytes data)
    @cython.locals(client=ClientConnection, runtime=VservRuntime, backend=Channel, login=Login, queue=BackendQueue, relay=Relay)
    cpdef _join(self, bytes to_client, bytes to_backend)
    cpdef _taps(self)
    cpdef relay_ended(self, str ending)
    @cython.locals(relay=Relay)
    cpdef double idle_at(self) except? -1
    @cython.locals(relay=Relay)
    cpdef refresh(self)
    cdef _show(self)
    @cython.locals(queue=BackendQueue, relay=Relay)
    cdef _stop_waiting(self)
    @cython.locals(runtime=VservRuntime, context=WorkerContext, facts=tuple, machine=Machine, seconds=double, moved=tuple)
    cpdef end(self, str ending)
