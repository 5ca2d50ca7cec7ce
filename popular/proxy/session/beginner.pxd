from popular.proxy.session.holders cimport Holders
from popular.proxy.session.session cimport Session

cdef class SessionBeginner:
    cdef public dict _vservs
    cdef public object _recorder
    cdef public Holders _holders
