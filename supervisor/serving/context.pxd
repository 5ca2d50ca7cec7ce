from supervisor.runtime.oftenlog cimport OftenLog
from supervisor.serving.counters cimport Counters
from supervisor.serving.wheel cimport Wheel
from supervisor.system cimport Clock, Observer, Poller, Shared, give_number
from supervisor.table.rows cimport RowWriter

cdef class WorkerContext:
    cdef public object _all_cells, _layout, _released, _segment, _used_cells, cells, count, loop, operator, pool, request
    cdef public Py_ssize_t _block_cells, block
    cdef public OftenLog log
    cdef public Clock clock
    cdef public Poller core
    cdef public Counters counters
    cdef public Observer _durations
    cdef public RowWriter rows
    cdef public Shared _all_shared, shared
    cdef public Wheel wheel
    cdef public dict _endings, sessions
    cdef public str _stamp, statedir
    cdef public int _pipe
    cdef public bint leaving
    cdef public long _in_second, _second, pid
    cpdef register(self, long row_number, session, Py_ssize_t started_cell)
    cpdef unregister(self, long row_number, str ending, double seconds)
    cpdef decline(self, long row_number)
    cdef _put_back(self, long row_number)
    cpdef str session_id(self, str prefix, double now)
