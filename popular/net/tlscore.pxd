from popular.net.tlsmodule cimport TlsEnd

cpdef TlsEnd tls_of(context, plain, str server_name, session)
cpdef bytes peek(int fd, Py_ssize_t most)
cpdef gather(int fd, bint begins)
