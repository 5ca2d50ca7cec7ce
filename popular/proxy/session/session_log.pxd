cimport cython

from popular.proxy.session.machine.machine cimport Machine
from popular.proxy.session.shared.runtime cimport VservRuntime
from supervisor.runtime.logline cimport Often
from supervisor.runtime.oftenlog cimport OftenLog

cdef Often _SESSION_END

cdef double milliseconds(double seconds) except? -1
@cython.locals(log=OftenLog, facts=tuple)
cpdef log_end(VservRuntime runtime, Machine machine, str sid, str ending, double seconds, tuple traffic, agreed, str via)
