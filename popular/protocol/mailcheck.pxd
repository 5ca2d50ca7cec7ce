cimport cython

from popular.protocol.xpop cimport check_mailbox_name

cdef tuple _MAILS
cdef Py_ssize_t _ZERO

cpdef bytes question(str mailbox)
@cython.locals(code=Py_ssize_t)
cpdef parse_mail_answer(bytes packet)
