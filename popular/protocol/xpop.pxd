cimport cython

@cython.locals(step=str)
cpdef check_mailbox_name(str name)
cpdef bytes request(str mailbox, str sid, str flags=*)
cpdef check_sid(str sid)
cpdef _check_flags(str flags)
