cimport cython

from supervisor.serving.wheel cimport Timed, Wheel
from supervisor.system cimport monotonic

cdef class DeadlineOwner:
    cpdef double idle_at(self) except? -1
    cpdef expired(self, str what)

cdef class Deadlines(Timed):
    cdef public Wheel _wheel
    cdef public DeadlineOwner _owner
    cdef public bint _is_in
    cdef public double _to_step, _until, _wakes
    @cython.locals(earliest=double)
    cpdef schedule(self)
    cpdef schedule_at(self, double when)
    @cython.locals(when=double)
    cpdef expect_within(self, double seconds)
    cpdef expect_nothing(self)
    cpdef login_done(self, double sessiontimeout)
    cpdef stop(self)
    @cython.locals(owner=DeadlineOwner)
    cpdef on_time(self, double now)
