cimport cython

from popular.proxy.session.backend.backend_connection cimport BackendConnection
from popular.proxy.session.backend.backend_admission cimport BackendAdmission
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.events cimport SessionEvents
from popular.proxy.session.runtime cimport VservRuntime

cdef class Login:
    cdef public double _began
    cdef public object _open_question, _mail_check
    cdef public BackendAdmission _admission
    cdef public BackendRuntime _to
    cdef public bint _waits
    cdef public SessionEvents _events
    cdef public str _sid
    cdef public VservRuntime _runtime
    cdef public BackendConnection connection
    @cython.locals(session=object)
    cpdef ask(self, question)
    @cython.locals(admission=BackendAdmission)
    cpdef take_place(self, BackendRuntime backend)
    @cython.locals(connection=BackendConnection, runtime=VservRuntime)
    cpdef connect(self, BackendRuntime backend, bint greets, bytes header)
    @cython.locals(now=double, runtime=VservRuntime, to=BackendRuntime)
    cpdef connected(self)
    @cython.locals(to=BackendRuntime)
    cpdef tuple hand_over(self)
    cpdef send(self, bytes data)
    @cython.locals(runtime=VservRuntime, session=SessionEvents)
    cpdef check_mail(self, BackendRuntime backend, str mailbox)
    cpdef mail_checked(self)
    @cython.locals(runtime=VservRuntime, seconds=double)
    cpdef _time_check(self)
    cpdef leave_backend(self)
    cpdef leave_waiting(self)
    @cython.locals(admission=BackendAdmission)
    cpdef release_place(self)
    cpdef show_heard(self, bytes data)
    cpdef close(self)
