from libc.stdint cimport uint64_t

cpdef namedtuple_of(type kind, tuple fields)
cpdef tuple fields_of(made)
cpdef bytes joined(bytes first, bytes second)
cpdef Py_ssize_t find(bytes octets, int octet) except -2
cpdef bytes part(bytes octets, Py_ssize_t first, Py_ssize_t behind)
cpdef unsigned int word_at(bytes octets) except? 0xffffffff
cpdef bytes entry(str head, tuple labels, tuple values)
cpdef bint is_plain(bytes octets) except -1
cpdef unsigned int checksum(bytes octets) except? 0xffffffff

cdef unsigned int checksum_at(const char *octets, Py_ssize_t length) noexcept
cdef Py_ssize_t decimal(char *out, uint64_t number) noexcept
