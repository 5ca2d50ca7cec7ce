"""The compiled form of tlscore.py: OpenSSL itself is asked.

On a client's side it is asked on the SSL that the ssl module has made (names, sessions, verification). A server's SSL
is made here, of the module's context: a session needs no socket object then, and none of the module's. Handshake,
reading, writing and close_notify go past the module in any case. Where one of them fails, the same is asked once more
through the module, which finds OpenSSL's errors as they are and raises its own; so is whatever is seldom wanted, such
as a certificate (`about`). For that the SSL of a server moves, for good, into an object of the module's.

No header of OpenSSL is needed: its few functions are looked up, when this is imported, where the ssl module has its
own from. Before any connection uses them two ends shake hands; if anything is not as it should be, all goes through the
module, and WAY says why.
"""

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport EAGAIN, errno
from libc.string cimport memset

import _ssl
import os
import socket
import ssl
import weakref

from popular.net.tlsmodule cimport TlsEnd, TlsThroughModule

from popular.net.tlsmodule import Plain

cdef extern from "Python.h":
    str PyUnicode_InternFromString(const char *)

cdef extern from "dlfcn.h" nogil:
    ctypedef struct Dl_info:
        const char *dli_fname
    void *dlopen(const char *, int)
    void *dlsym(void *, const char *)
    int dladdr(const void *, Dl_info *)
    int RTLD_LAZY, RTLD_NOLOAD
    void *RTLD_DEFAULT

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv" (int, void *, size_t, int)
    int setsockopt(int, int, int, const void *, unsigned int)
    int MSG_PEEK

cdef extern from "netinet/in.h" nogil:
    int IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    int TCP_CORK

cdef extern from *:
    """
    /* The beginning of the ssl module's object for a connection, the same since Python 3.6; _check compares it. */
    typedef struct { PyObject_HEAD PyObject *connection; void *ssl; PyObject *context; } OfModule;
    /* And that of its object for a context. */
    typedef struct { PyObject_HEAD void *context; } ContextOfModule;
    """
    ctypedef struct OfModule:
        PyObject *connection
        void *ssl
        PyObject *context
    ctypedef struct ContextOfModule:
        void *context

cdef enum:
    AT_A_TIME = 16384  # a record (RFC 8446 section 5.1): OpenSSL gives no more
    CTRL_MODE = 33  # SSL_set_mode(3) and SSL_get_mode(3) are macros
    WANT_READ = 2
    WANT_WRITE = 3
    SYSCALL = 5
    ZERO_RETURN = 6

ctypedef int (*OnSsl)(void *) noexcept nogil
ctypedef int (*OnResult)(void *, int) noexcept nogil
ctypedef void (*Setting)(void *, int) noexcept nogil
ctypedef int (*Moving)(void *, void *, size_t, size_t *) noexcept nogil
ctypedef void *(*Kept)(void *, int) noexcept nogil
ctypedef void (*Clearing)() noexcept nogil
ctypedef unsigned long (*Peeking)() noexcept nogil
ctypedef void *(*Making)(void *) noexcept nogil
ctypedef void (*OnOnly)(void *) noexcept nogil
ctypedef long (*Control)(void *, int, long, void *) noexcept nogil
ctypedef void *(*Exchange)(void *, void *) noexcept nogil
ctypedef int (*Keeping)(void *, int, void *) noexcept nogil
ctypedef const char *(*Telling)(const void *) noexcept nogil

cdef OnSsl SSL_do_handshake, SSL_has_pending, SSL_shutdown, SSL_get_fd, SSL_session_reused
cdef OnResult SSL_get_error, SSL_set_fd
cdef Making SSL_new, SSL_get_SSL_CTX, SSL_get_current_cipher
cdef OnOnly SSL_free, SSL_set_accept_state
cdef Control SSL_ctrl
cdef Exchange SSL_set_SSL_CTX
cdef Keeping SSL_set_ex_data
cdef Telling SSL_get_version, SSL_CIPHER_get_name
cdef Setting SSL_set_read_ahead
cdef Moving SSL_read_ex, SSL_write_ex
cdef Kept SSL_get_ex_data
cdef Clearing ERR_clear_error
cdef Peeking ERR_peek_error

cdef char _received[AT_A_TIME]  # only as long as the interpreter's lock is held; what was in it is wiped
cdef long _modes  # of an SSL, as the module sets them
cdef object _side_of  # a context's protocol as a number: the ssl module would look up its word each time
cdef int _SERVER = ssl.PROTOCOL_TLS_SERVER
cdef object _nobody  # a socket that is closed, and never blocked
cdef object _spare  # an object of the module's for the next one that needs it, or None


cdef struct Word:
    const char *octets
    PyObject *word

cdef Word _version, _suite  # the last ones: nearly all clients agree to the same


cdef str _word(const char *octets, Word *last):
    """A constant of OpenSSL's. Python's for the same word is made once, and never goes."""
    if octets != last.octets:
        word = PyUnicode_InternFromString(octets)
        Py_INCREF(word)
        last.octets, last.word = octets, <PyObject *>word
    return <str>last.word


cdef inline void _forget_errors() noexcept:
    """Those of before, if there are any: OpenSSL walks through all their places each time it is told to clear them."""
    if ERR_peek_error() != 0:
        ERR_clear_error()


@cython.no_gc_clear  # else `_about` would be gone in __dealloc__, and its SSL be freed once more
cdef class TlsDirect(TlsEnd):
    """See TlsThroughModule."""

    cdef object _about  # the module's object, if there is one: then the SSL lives as long as that
    cdef object _context  # OpenSSL's holds no reference to the object that it calls back (ALPN)
    cdef void *_ssl  # NULL once this is closed
    cdef bint _dry, _broken

    def __init__(self, context, plain, str server_name, session):
        self._context = context
        if _side_of(context) == _SERVER:
            self._serve(plain.fd)
            return
        self.connection = plain.connection
        # The module never blocks on a socket that does not.
        self._about = context._wrap_socket(
            self.connection,
            False,
            None if server_name is None else context._encode_hostname(server_name),
            owner=None,
            session=session,
        )
        self._ssl = (<OfModule *><PyObject *>self._about).ssl

    cdef int _serve(self, int fd) except -1:
        self._ssl = SSL_new(_inside(self._context))
        if self._ssl == NULL or SSL_set_fd(self._ssl, fd) != 1:
            ERR_clear_error()
            raise MemoryError
        SSL_ctrl(self._ssl, CTRL_MODE, _modes, NULL)
        SSL_set_accept_state(self._ssl)
        # A client is read to the end each time: as many records at once as have come.
        SSL_set_read_ahead(self._ssl, 1)
        return 0

    def __dealloc__(self):
        self._free()

    cdef void _free(self) noexcept:
        if self._ssl != NULL and self._about is None:
            SSL_free(self._ssl)
        self._ssl = NULL

    @property
    def about(self):
        """The module's object. Made in advance: to make one clears the errors that it is to find. That it needs a socket
        is a matter of form: it takes the descriptor from the SSL.
        """
        global _spare
        cdef OfModule *of_module
        if self._about is None and self._ssl != NULL:
            self._provide()
            of_module = <OfModule *><PyObject *>_spare
            SSL_free(of_module.ssl)
            of_module.ssl = self._ssl
            SSL_set_ex_data(self._ssl, 0, of_module)
            self._about, _spare = _spare, None
            self._about.context = self._context
        return self._about

    cpdef change(self, context):
        """Another context, before the first octet is read; see contexts.py."""
        self._open()
        if self._about is None:
            SSL_set_SSL_CTX(self._ssl, _inside(context))
        else:
            self._about.context = context
        self._context = context

    cpdef tuple agreed(self):
        """Version, cipher suite, and whether a session was resumed. The words are the same for all who agree so."""
        self._open()
        return (
            _word(SSL_get_version(self._ssl), &_version),
            _word(SSL_CIPHER_get_name(SSL_get_current_cipher(self._ssl)), &_suite),
            SSL_session_reused(self._ssl) == 1,
        )

    cdef int _open(self) except -1:
        if self._ssl == NULL:
            raise OSError(9, "the connection is closed")
        self._provide()
        _forget_errors()
        return 0

    cdef int _provide(self) except -1:
        global _spare
        if _spare is None and self._about is None:
            _spare = self._context._wrap_socket(_nobody, True, None, owner=None, session=None)
        return 0

    cdef int _failed(self, int result, int number) except -1:
        """WANT_READ, WANT_WRITE, ZERO_RETURN; anything else must be asked of the module. Raises what the kernel said."""
        cdef int error = SSL_get_error(self._ssl, result)
        if error == WANT_READ or error == WANT_WRITE or error == ZERO_RETURN:
            return error
        self._broken = True
        if error == SYSCALL and number and ERR_peek_error() == 0:
            raise OSError(number, os.strerror(number))
        return error

    cpdef str handshake(self):
        cdef int result, number, error
        self._open()
        with nogil:
            result = SSL_do_handshake(self._ssl)
            number = errno
        if result == 1:
            return None
        error = self._failed(result, number)
        if error == WANT_READ:
            return "read"
        if error == WANT_WRITE:
            return "write"
        self._broken = True
        about = self.about
        about.do_handshake()
        self._broken = False
        return None

    cpdef bytes receive(self, Py_ssize_t most):
        cdef size_t count = 0
        cdef int error
        self._open()
        if SSL_read_ex(self._ssl, _received, most if most < AT_A_TIME else AT_A_TIME, &count) == 1:
            self._dry = False
            data = PyBytes_FromStringAndSize(_received, count)
            memset(_received, 0, count)
            return data
        error = self._failed(0, 0)  # a reset is the end of the stream here, as it is in the module
        if error == WANT_READ or error == WANT_WRITE:
            self._dry = True
            return None
        if error == ZERO_RETURN:
            return b""
        try:
            return self.about.read(most)
        except ssl.SSLEOFError:
            return b""

    cpdef Py_ssize_t send(self, bytes data) except -1:
        cdef size_t count = 0
        cdef int error
        self._open()
        if PyBytes_GET_SIZE(data) == 0:
            return 0
        if SSL_write_ex(self._ssl, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &count) == 1:
            return count
        error = self._failed(0, errno)
        if error == WANT_READ or error == WANT_WRITE:
            return 0
        return self.about.write(data)

    cpdef bint pending(self) except -1:
        return self._ssl != NULL and not self._dry and SSL_has_pending(self._ssl) == 1

    cpdef end_sending(self):
        """The other side's close_notify is not read: so nothing of what it says is lost."""
        if self._ssl == NULL or self._broken:
            return
        _forget_errors()
        if SSL_shutdown(self._ssl) < 0:
            ERR_clear_error()

    cpdef close(self):
        """Uses the socket no more; it is somebody else's to close."""
        self._free()
        self._about = self._context = self.connection = None


cpdef bytes peek(int fd, Py_ssize_t most):
    cdef ssize_t count = c_recv(fd, _received, most if most < AT_A_TIME else AT_A_TIME, MSG_PEEK)
    if count >= 0:
        data = PyBytes_FromStringAndSize(_received, count)
        memset(_received, 0, count)
        return data
    if errno == EAGAIN:
        return None
    PyErr_SetFromErrno(OSError)


cpdef gather(int fd, bint begins):
    cdef int value = begins
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value))


cpdef TlsEnd tls_of(context, plain, str server_name, session):
    """See tlscore.py."""
    if DIRECT:
        return TlsDirect(context, plain, server_name, session)
    return TlsThroughModule(context, plain.connection, server_name=server_name, session=session)


cdef inline void *_inside(context):
    """OpenSSL's context in the module's."""
    return (<ContextOfModule *><PyObject *>context).context


# Whether OpenSSL can be reached. Every doubt is an exception, whose text is shown to people.


cdef int _must(bint fine, str doubt) except -1:
    if not fine:
        raise RuntimeError(doubt)
    return 0


cdef void *_function(void *module, bytes name) except NULL:
    """One that is nowhere else but where the ssl module has it from."""
    cdef void *found = dlsym(module, name)
    cdef void *first = dlsym(RTLD_DEFAULT, name)
    _must(found != NULL, f"OpenSSL's {name.decode()} is hidden in it")
    _must(first == NULL or first == found, f"there are two OpenSSLs, with a {name.decode()} each")
    return found


cdef str _look_up():
    """Finds the functions. Says in which library they are."""
    global SSL_do_handshake, SSL_has_pending, SSL_shutdown, SSL_get_fd, SSL_get_error, SSL_set_read_ahead
    global SSL_read_ex, SSL_write_ex, SSL_get_ex_data, ERR_clear_error, ERR_peek_error
    global SSL_session_reused, SSL_set_fd, SSL_new, SSL_get_SSL_CTX, SSL_get_current_cipher, SSL_free
    global _side_of, SSL_set_accept_state, SSL_ctrl, SSL_set_SSL_CTX, SSL_set_ex_data, SSL_get_version, SSL_CIPHER_get_name
    cdef Dl_info where
    cdef bytes path = getattr(_ssl, "__file__", "").encode()
    _must(path, "it is built into the interpreter")
    _side_of = _ssl._SSLContext.protocol.__get__
    cdef void *module = dlopen(path, RTLD_LAZY | RTLD_NOLOAD)
    _must(module != NULL, "it is nowhere in memory")
    SSL_do_handshake = <OnSsl>_function(module, b"SSL_do_handshake")
    SSL_has_pending = <OnSsl>_function(module, b"SSL_has_pending")
    SSL_shutdown = <OnSsl>_function(module, b"SSL_shutdown")
    SSL_get_fd = <OnSsl>_function(module, b"SSL_get_fd")
    SSL_get_error = <OnResult>_function(module, b"SSL_get_error")
    SSL_set_read_ahead = <Setting>_function(module, b"SSL_set_read_ahead")
    SSL_read_ex = <Moving>_function(module, b"SSL_read_ex")
    SSL_write_ex = <Moving>_function(module, b"SSL_write_ex")
    SSL_get_ex_data = <Kept>_function(module, b"SSL_get_ex_data")
    ERR_clear_error = <Clearing>_function(module, b"ERR_clear_error")
    ERR_peek_error = <Peeking>_function(module, b"ERR_peek_error")
    SSL_session_reused = <OnSsl>_function(module, b"SSL_session_reused")
    SSL_set_fd = <OnResult>_function(module, b"SSL_set_fd")
    SSL_new = <Making>_function(module, b"SSL_new")
    SSL_get_SSL_CTX = <Making>_function(module, b"SSL_get_SSL_CTX")
    SSL_get_current_cipher = <Making>_function(module, b"SSL_get_current_cipher")
    SSL_free = <OnOnly>_function(module, b"SSL_free")
    SSL_set_accept_state = <OnOnly>_function(module, b"SSL_set_accept_state")
    SSL_ctrl = <Control>_function(module, b"SSL_ctrl")
    SSL_set_SSL_CTX = <Exchange>_function(module, b"SSL_set_SSL_CTX")
    SSL_set_ex_data = <Keeping>_function(module, b"SSL_set_ex_data")
    SSL_get_version = <Telling>_function(module, b"SSL_get_version")
    SSL_CIPHER_get_name = <Telling>_function(module, b"SSL_CIPHER_get_name")
    _must(dladdr(<void *>SSL_read_ex, &where) != 0, "nobody knows which library it has")
    return where.dli_fname.decode()


cdef _check(context, connection):
    """The objects of the ssl module are laid out as we believe: what stands before and after its SSL tells so, and the
    SSL knows its object, its context and its descriptor.
    """
    global _modes
    about = context._wrap_socket(connection, context.protocol == ssl.PROTOCOL_TLS_SERVER, None, owner=None, session=None)
    cdef OfModule *of_module = <OfModule *><PyObject *>about
    _must(type(about).__basicsize__ >= sizeof(OfModule), "its object is too small")
    known = [id(one) for one in weakref.getweakrefs(connection)]
    _must(<size_t>of_module.connection in known, "its object holds something else than the connection")
    _must(of_module.context == <PyObject *>context, "its object holds something else than the context")
    _must(of_module.ssl != NULL, "its object holds no SSL")
    _must(SSL_get_ex_data(of_module.ssl, 0) == <void *>of_module, "its SSL does not know its object")
    _must(SSL_get_fd(of_module.ssl) == connection.fileno(), "its SSL has another descriptor")
    _must(SSL_get_SSL_CTX(of_module.ssl) == _inside(context), "its SSL has another context")
    _modes = SSL_ctrl(of_module.ssl, CTRL_MODE, 0, NULL)


cdef _try():
    """Two ends shake hands and speak, without certificates, over a pair of sockets."""
    global _nobody
    ends, pair = [], socket.socketpair()
    _nobody = pair[0]
    for connection, side in zip(pair, (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)):
        connection.setblocking(False)
        context = ssl.SSLContext(side)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AECDH-AES128-SHA:ADH-AES128-SHA256:@SECLEVEL=0")
        _check(context, connection)
        ends.append(TlsDirect(context, Plain(connection.fileno(), connection), None, None))
    server, client = ends
    for _ in range(4):
        waiting = [end.handshake() for end in (client, server)]
    _must(waiting == [None, None], "two ends do not come to shake hands")
    for one, other in ((client, server), (server, client)):
        _must((one.receive(9), one.pending()) == (None, False), "it receives what nobody sent")
        _must((other.send(b"word"), one.receive(3), one.pending(), one.receive(9)) == (4, b"wor", True, b"d"), "it lies")
        _must(one.agreed()[0] == one.about.version() == "TLSv1.2", "it shook hands elsewhere")
    client.end_sending()
    _must(server.receive(9) == b"", "it does not hear the end")
    for end, connection in zip(ends, pair):
        end.close()
        connection.close()


cdef bint DIRECT = False

def _choose():
    global DIRECT
    try:
        library = _look_up()
        _try()
    except Exception as error:  # whatever it is, the ssl module does all of it as well
        return f"TLS through the ssl module: {error}"
    DIRECT = True
    return f"TLS straight from {os.path.basename(library)}"

WAY = _choose()
