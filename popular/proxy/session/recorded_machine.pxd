from popular.proxy.session.machine cimport Machine

cdef class RecordedMachine(Machine):
    cdef public object _recording
    cdef _command(self, bytes line)
    cdef _response(self, bytes line)
    cdef _simulated(self, bytes line)
