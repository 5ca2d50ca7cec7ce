from popular.proxy.session.inforce cimport TracesKnown
from popular.proxy.session.recorded_session cimport session_to_record
from popular.proxy.session.recording cimport recording_of
from popular.proxy.session.session cimport Session
from supervisor.serving.holders cimport Holders

cdef class SessionBeginner:
    cdef public dict _vservs
    cdef public TracesKnown _recorder
    cdef public Holders _holders
