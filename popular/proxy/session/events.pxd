from popular.net.client cimport ClientOwner

cdef class SessionEvents(ClientOwner):
    cpdef introduced(self, header)
    cpdef header_failed(self, str reason)
    cpdef decided(self, decision)
    cpdef mail_checked(self, mail, str reason)
    cpdef backend_reached(self, long number)
    cpdef backend_connected(self)
    cpdef backend_tls_up(self)
    cpdef backend_says(self, bytes data)
    cpdef backend_broke(self, str reason, str word=*)
    cpdef relay_ended(self, str ending)
