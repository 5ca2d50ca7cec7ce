from supervisor.system cimport monotonic

cdef class TicketContexts:
    cdef public object _current, _later, _minimum
    cdef public double _until
    cdef public Py_ssize_t _weeks
    cdef _take(self, context)
    cpdef rotate_to(self, double now, minimum=*)

cdef class TlsSettings:
    cdef public object _by_name, _default, _minimum, verify_mode
    cpdef first_context(self)
    cpdef certificate_context(self, str server_name)

cdef TicketContexts TICKET_CONTEXTS
