from supervisor.system cimport Packer

cdef class RowWriter:
    cdef public Py_ssize_t _first, _row_size
    cdef public Packer _packer
    cdef public dict _blank
    cdef public object _in_order
    cdef public tuple _freed, names
    cdef public long _freed_by
    cpdef free(self, long row, long pid)
    cpdef put(self, long row, tuple values)
