cimport cython

from supervisor.system cimport Packer, Shared

cdef Py_ssize_t _SERIAL_AT

cdef class RowWriter:
    cdef public Shared _shared
    cdef public Py_ssize_t _first, _row_size, _size, _offset_cells
    cdef public Packer _packer
    cdef public dict _blank
    cdef public object _in_order
    cdef public tuple _freed, names
    cdef public long _freed_by
    cpdef free(self, long row, long pid)
    @cython.locals(start=Py_ssize_t, serial=Py_ssize_t, shared=Shared)
    cpdef put(self, long row, tuple values)
