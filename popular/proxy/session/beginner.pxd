from popular.proxy.session.tracing.trace_filter cimport TracesKnown
from popular.proxy.session.tracing.traceable_session cimport session_to_trace
from popular.proxy.session.tracing.session_trace cimport session_trace_of
from popular.proxy.session.optional_steps cimport Session
from supervisor.serving.refcount cimport RefCount

cdef class SessionBeginner:
    cdef public dict _vservs
    cdef public TracesKnown _registry
    cdef public RefCount _holders
