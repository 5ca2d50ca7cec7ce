from popular.proxy.session.tracing.inforce cimport TracesKnown
from popular.proxy.session.tracing.traceable_session cimport session_to_trace
from popular.proxy.session.tracing.recording cimport recording_of
from popular.proxy.session.session cimport Session
from supervisor.serving.refcount cimport RefCount

cdef class SessionBeginner:
    cdef public dict _vservs
    cdef public TracesKnown _recorder
    cdef public RefCount _holders
