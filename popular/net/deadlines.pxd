from supervisor.serving.wheel cimport Wheel

cdef class Deadlines:
    cdef public Wheel _wheel
    cdef public object _owner, bucket
    cdef public double _to_log_in, _to_step, _until, _wakes
    cpdef set_alarm(self)
    cpdef look_at(self, double when)
    cpdef expect_within(self, double seconds)
    cpdef expect_nothing(self)
    cpdef login_done(self, double sessiontimeout)
    cpdef stop(self)
