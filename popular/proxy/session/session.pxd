cimport cython

from popular.net.channel cimport Channel
from popular.net.client cimport ClientConnection
from popular.proxy.session.backend.backend_admission cimport BackendPlaces
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.login cimport Login
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.runtime cimport VservRuntime
from popular.proxy.session.session_life cimport SessionLife

cdef class Session(SessionLife):
    cpdef send(self, bytes data)
    @cython.locals(machine=Machine)
    cpdef client_says(self, bytes data)
    cpdef client_ended(self)
    cpdef client_took_all(self)
    cpdef client_broke(self)
    cpdef ask(self, question, double seconds)
    cpdef decided(self, decision)
    cpdef _tell_decision(self, decision)
    cpdef check_mail(self, BackendRuntime backend, str mailbox, double seconds)
    cpdef mail_checked(self, mail, str reason)
    cpdef connect(self, BackendRuntime backend, bint greets, double seconds)
    cpdef send_backend(self, bytes data)
    cpdef leave_backend(self)
    cpdef backend_connected(self)
    @cython.locals(machine=Machine)
    cpdef backend_says(self, bytes data)
    @cython.locals(runtime=VservRuntime)
    cpdef logged_in(self)
    @cython.locals(client=ClientConnection, runtime=VservRuntime, backend=Channel, login=Login, places=BackendPlaces, relay=Relay)
    cpdef _begin_relay(self, bytes to_client, bytes to_backend)
    cpdef _taps(self)
    cpdef relay_ended(self, str ending)
