from popular.proxy.session.shared.module_chain cimport ModuleChain
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.typedrules cimport TypedRules
from supervisor.serving.context cimport WorkerContext
from supervisor.serving.counters cimport Counters
from supervisor.serving.refcount cimport RefCount
from supervisor.system cimport Observer, Shared

cdef class VservRuntime:
    cdef public object absorber, backend_tls, limits, orders, pipes, reporter, tls_settings
    cdef public RefCount holders
    cdef public Surroundings around
    cdef public TypedRules rules
    cdef public double authtimeout, first_look, idletimeout, proxytimeout, sessiontimeout
    cdef public WorkerContext context
    cdef public Counters counters
    cdef public Observer login_durations, mail_check_durations
    cdef public Shared blocked
    cdef public ModuleChain modules
    cdef public list traffic_cells
    cdef public str sidprefix
    cdef public bytes vserv
    cdef public Py_ssize_t started_cell
    cdef public long checkport
    cdef public bint limited
