cimport cython

from popular.proxy.session.backend.backend_admission cimport BackendAdmission
from popular.proxy.session.backend.backend_connection cimport BackendConnection
from popular.proxy.session.backend.backend_runtime cimport BackendRuntime
from popular.proxy.session.events cimport SessionEvents
from popular.proxy.session.shared.runtime cimport VservRuntime

cdef class LoginParts:
    cdef public double began
    cdef public object question, _mail_check
    cdef public BackendAdmission admission
    cdef public BackendConnection connection
    cdef public BackendRuntime backend
    cdef public bint _waits
    cdef public SessionEvents _events
    cdef public str _sid
    cdef public VservRuntime _runtime
    @cython.locals(admission=BackendAdmission)
    cpdef take_place(self, BackendRuntime backend)
    cpdef leave_waiting(self)
    @cython.locals(admission=BackendAdmission)
    cpdef release_place(self)
    @cython.locals(runtime=VservRuntime, session=SessionEvents)
    cpdef check_mail(self, BackendRuntime backend, str mailbox)
    cpdef mail_checked(self)
    @cython.locals(runtime=VservRuntime, seconds=double)
    cpdef _time_check(self)
    @cython.locals(connection=BackendConnection, runtime=VservRuntime)
    cpdef str missing(self, str what)
    cpdef leave_backend(self)
    cpdef close(self)
