cdef class BackendKnowledge:
    cpdef bint pipelines(self) except -1
    cpdef note_login(self)

cdef class HealthKnowledge:
    cpdef int takes(self, str address) except -1
