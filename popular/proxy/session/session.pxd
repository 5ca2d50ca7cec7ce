cimport cython

from popular.net.client cimport ClientConnection
from popular.proxy.session.backend.backend_admission cimport BackendAdmission
from popular.proxy.session.backend.backend_connection cimport BackendConnection
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.login_parts cimport LoginParts
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.shared.module_chain cimport ModuleChain
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.shared.runtime cimport VservRuntime
from popular.proxy.session.session_life cimport SessionLife

cdef class Session(SessionLife):
    cpdef send(self, bytes data)
    @cython.locals(machine=Machine)
    cpdef client_says(self, bytes data)
    cpdef client_ended(self)
    cpdef client_took_all(self)
    cpdef client_broke(self)
    @cython.locals(runtime=VservRuntime, modules=ModuleChain)
    cpdef ask(self, question, double seconds)
    cpdef decided(self, decision)
    cpdef _tell_decision(self, decision)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    cpdef mail_checked(self, mail, str reason)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    @cython.locals(runtime=VservRuntime, login=LoginParts, connection=BackendConnection)
    cdef _open(self, BackendRuntime backend, bint greets)
    @cython.locals(connection=BackendConnection)
    cpdef send_backend(self, bytes data)
    cpdef leave_backend(self)
    cpdef backend_connected(self)
    @cython.locals(runtime=VservRuntime, login=LoginParts, backend=BackendRuntime, now=double)
    cdef _time_login(self)
    @cython.locals(machine=Machine)
    cpdef backend_says(self, bytes data)
    @cython.locals(runtime=VservRuntime)
    cpdef logged_in(self)
    @cython.locals(client=ClientConnection, runtime=VservRuntime, login=LoginParts, relay=Relay)
    @cython.locals(backend=BackendRuntime, connection=BackendConnection, admission=BackendAdmission)
    cpdef _begin_relay(self, bytes to_client, bytes to_backend)
    cpdef _taps(self)
    cpdef relay_ended(self, str ending)
