from popular.proxy.session.tracing.inforce cimport TracesKnown
from popular.proxy.session.tracing.recorded_session cimport session_to_record
from popular.proxy.session.tracing.recording cimport recording_of
from popular.proxy.session.session cimport Session
from supervisor.serving.refcount cimport RefCount

cdef class SessionBeginner:
    cdef public dict _vservs
    cdef public TracesKnown _recorder
    cdef public RefCount _holders
