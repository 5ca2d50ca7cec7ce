cimport cython

from popular.net.client cimport ClientConnection
from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.relay cimport Relay
from popular.proxy.session.shared.runtime cimport VservRuntime
from supervisor.serving.context cimport WorkerContext
from supervisor.system cimport Shared, wall

cdef class SessionRow:
    cdef public tuple _counted
    cdef public VservRuntime _runtime
    cdef public object _shown
    cdef public double _shown_at, _started
    cdef public unsigned int _deletes, _row_number
    @cython.locals(runtime=VservRuntime, context=WorkerContext)
    cpdef show(self, Machine machine, str sid, tuple traffic)
    @cython.locals(shared=Shared)
    cpdef add_traffic(self, tuple traffic)

cpdef tuple traffic_of(ClientConnection client, Relay relay)
