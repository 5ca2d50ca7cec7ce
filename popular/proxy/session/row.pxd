from popular.net.client cimport ClientConnection
from popular.proxy.session.machine cimport Machine
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.runtime cimport VservRuntime

cdef class SessionRow:
    cdef public tuple _counted
    cdef public VservRuntime _runtime
    cdef public object _shown
    cdef public bytes _sid
    cdef public double _shown_at, _started
    cdef public long _token
    cpdef count(self, tuple moved)

cpdef tuple moved_by(ClientConnection client, Relay relay)
