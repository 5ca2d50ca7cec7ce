from supervisor.runtime.logline cimport Often
from supervisor.runtime.oftenlog cimport OftenLog

cdef Often _SESSION_END

cpdef double milliseconds(double seconds) except? -1
cpdef log_end(OftenLog log, str sid, tuple facts)
