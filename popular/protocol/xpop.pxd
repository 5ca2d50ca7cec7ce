cimport cython

@cython.locals(letter=Py_UCS4)
cpdef check_mailbox_name(str name)
cpdef bytes request(str mailbox, str sid, str flags=*)
cpdef check_sid(str sid)
cpdef _check_flags(str flags)
