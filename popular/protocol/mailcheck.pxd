cdef dict _MAIL_OF

cpdef bytes question(str mailbox)
cpdef parse_mail_answer(bytes packet)
