"""The compiled form of system.py, which says what everything is for: here is only how the kernel is asked directly.

Nothing here lets go of the interpreter's lock but the wait for events: no other call waits.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset

from supervisor.octets cimport checksum_at, decimal

import os
import struct
from collections.abc import Callable


cdef extern from * nogil:
    void keep_order "__atomic_thread_fence" (int)
    int RELEASE "__ATOMIC_RELEASE"

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int, timespec *)
    int CLOCK_MONOTONIC, CLOCK_REALTIME

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    ctypedef struct PyInterpreterState:
        pass
    ctypedef struct PyThreadState:
        pass
    PyInterpreterState *PyInterpreterState_Get()
    PyThreadState *PyInterpreterState_ThreadHead(PyInterpreterState *)
    PyThreadState *PyThreadState_Next(PyThreadState *)

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    /* The kernel's own calls. Those of libc are points at which a thread may be cancelled, and mark that by two locked
       instructions each, a quarter of what the call costs in user space; nobody cancels a thread of ours. */
    static int c_close(int fd) { return (int)syscall(SYS_close, fd); }
    static ssize_t c_read(int fd, void *room, size_t most) { return syscall(SYS_read, fd, room, most); }
    static ssize_t c_write(int fd, const void *octets, size_t length) { return syscall(SYS_write, fd, octets, length); }
    static ssize_t c_recv(int fd, void *room, size_t most) {
        return syscall(SYS_recvfrom, fd, room, most, 0, NULL, NULL);
    }
    static ssize_t c_send(int fd, const void *octets, size_t length, int flags) {
        return syscall(SYS_sendto, fd, octets, length, flags, NULL, 0);
    }
    static int c_accept(int fd, struct sockaddr *peer, socklen_t *size, int flags) {
        return (int)syscall(SYS_accept4, fd, peer, size, flags);
    }
    static int c_connect(int fd, const struct sockaddr *peer, socklen_t size) {
        return (int)syscall(SYS_connect, fd, peer, size);
    }
    static int c_wait(int epoll, struct epoll_event *found, int most, int milliseconds) {
        return (int)syscall(SYS_epoll_pwait, epoll, found, most, milliseconds, NULL, 0);
    }
    """
    int c_close(int) nogil
    ssize_t c_read(int, void *, size_t) nogil
    ssize_t c_write(int, const void *, size_t) nogil
    ssize_t c_recv(int, void *, size_t) nogil
    ssize_t c_send(int, const void *, size_t, int) nogil
    int c_accept(int, sockaddr *, unsigned int *, int) nogil
    int c_connect(int, const sockaddr *, unsigned int) nogil
    int c_wait(int, epoll_event *, int, int) nogil

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event *)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL

cdef extern from "sys/socket.h" nogil:
    struct sockaddr:
        pass
    struct sockaddr_storage:
        uint16_t ss_family
    int c_socket "socket" (int, int, int)
    int setsockopt(int, int, int, const void *, unsigned int)
    int shutdown(int, int)
    int AF_INET, AF_INET6, MSG_MORE, MSG_NOSIGNAL, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
    uint16_t htons(uint16_t)
    uint16_t ntohs(uint16_t)
    int IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    int TCP_NODELAY

cdef extern from "arpa/inet.h" nogil:
    const char *inet_ntop(int, const void *, char *, unsigned int)
    int inet_pton(int, const char *, void *)

IP_MINTTL, IPV6_MINHOPCOUNT = MINTTL, MINHOPCOUNT

cdef enum:
    MINTTL = 21
    MINHOPCOUNT = 73
    MOST_EVENTS = 128
    AT_A_TIME = 65536
    FIRST_WATCHERS = 256
    FIRST_LATE = 64
    CHECKSUM_OCTETS = 8
    MOST_OF_ROW = 4096

cdef char _received[AT_A_TIME]  # of one thread only: the event loop's
cdef epoll_event _found[MOST_EVENTS]


cdef inline double _monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef inline bint _is_alone() noexcept:
    """Whether this is the only thread of Python's: then nobody waits for the interpreter's lock, nor will as long as we
    wait, for nobody else can begin a thread.
    """
    return PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL


cdef class Clock:
    """See system.py."""

    def __init__(self):
        self.now = _monotonic()


cdef class EventTaker:
    """See system.py."""

    cpdef ready(self, int fd, unsigned int events):
        raise NotImplementedError

    cpdef turn_over(self):
        raise NotImplementedError


cdef class Caller(EventTaker):
    """Any other watcher."""

    cdef object _call

    def __init__(self, call):
        self._call = call

    cpdef ready(self, int fd, unsigned int events):
        self._call(events)


Watcher = EventTaker | Callable[[int], object]


cdef class Poller:
    """See system.py."""

    def __cinit__(self):
        self._epoll = -1
        self._watchers = [None] * FIRST_WATCHERS
        self.clock = Clock()

    def __init__(self):
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            PyErr_SetFromErrno(OSError)

    cdef _put(self, int fd, watcher):
        if fd < 0:
            raise ValueError("a descriptor that is closed")
        while fd >= len(self._watchers):
            self._watchers.extend([None] * len(self._watchers))
        self._watchers[fd] = watcher if isinstance(watcher, EventTaker) else Caller(watcher)

    cdef int _control(self, int operation, int fd, unsigned int events) except -1:
        cdef epoll_event event
        event.data.u64 = 0
        event.events = events
        event.data.fd = fd
        if epoll_ctl(self._epoll, operation, fd, &event) < 0:
            PyErr_SetFromErrno(OSError)
        return 0

    cpdef watch(self, int fd, unsigned int events, watcher):
        self._put(fd, watcher)
        self._control(EPOLL_CTL_ADD, fd, events)

    cpdef rewatch(self, int fd, unsigned int events):
        self._control(EPOLL_CTL_MOD, fd, events)

    cpdef redirect(self, int fd, watcher):
        self._put(fd, watcher)

    cpdef unwatch(self, int fd):
        cdef epoll_event event
        self.forget(fd)
        epoll_ctl(self._epoll, EPOLL_CTL_DEL, fd, &event)

    cpdef forget(self, int fd):
        if 0 <= fd < len(self._watchers):
            self._watchers[fd] = None

    cpdef later(self, EventTaker taker):
        cdef PyObject **more
        cdef int places = 2 * self._places + FIRST_LATE
        if self._waiting == self._places:
            more = <PyObject **>realloc(self._late, places * sizeof(PyObject *))
            if more == NULL:
                raise MemoryError
            self._late = more
            self._places = places
        Py_INCREF(taker)
        self._late[self._waiting] = <PyObject *>taker
        self._waiting += 1

    cdef _end_turn(self):
        cdef Py_ssize_t place = 0
        cdef EventTaker taker
        try:
            while place < self._waiting:  # who is called may ask for more, and the array may move
                taker = <EventTaker>self._late[place]
                place += 1
                Py_DECREF(taker)  # the variable holds it
                taker.turn_over()
        finally:
            self._waiting -= place
            if self._waiting:  # not without an array: C forbids NULL here, also for no octets at all
                memmove(self._late, self._late + place, self._waiting * sizeof(PyObject *))

    def run(self, double timeout):
        cdef double deadline
        cdef int count, fd, milliseconds, position
        cdef EventTaker watcher
        self.interrupted = False
        self._end_turn()
        if self.interrupted:
            timeout = 0.0
        deadline = _monotonic() + timeout
        while True:
            milliseconds = <int>(timeout * 1000 + 0.999) if timeout > 0 else 0
            if _is_alone():
                count = c_wait(self._epoll, _found, MOST_EVENTS, milliseconds)
            else:
                with nogil:
                    count = c_wait(self._epoll, _found, MOST_EVENTS, milliseconds)
            if count < 0:
                if errno != EINTR:
                    PyErr_SetFromErrno(OSError)
                count = 0
                PyErr_CheckSignals()
            self.clock.now = _monotonic()
            for position in range(count):
                fd = _found[position].data.fd
                watcher = <EventTaker>self._watchers[fd]  # `_put` lets nothing else in
                if watcher is not None:
                    watcher.ready(fd, _found[position].events)
            self._end_turn()
            timeout = deadline - self.clock.now
            if self.interrupted or timeout <= 0:
                return

    def __dealloc__(self):
        cdef Py_ssize_t place
        for place in range(self._waiting):
            Py_DECREF(<object>self._late[place])
        free(self._late)

    def fileno(self):
        return self._epoll

    def close(self):
        if self._epoll >= 0:
            c_close(self._epoll)
        self._epoll = -1


cpdef bytes receive(int fd, Py_ssize_t most):
    cdef ssize_t count = c_recv(fd, _received, most if most < AT_A_TIME else AT_A_TIME)
    if count >= 0:
        return PyBytes_FromStringAndSize(_received, count)
    if errno == EAGAIN:
        return None
    PyErr_SetFromErrno(OSError)


cpdef Py_ssize_t send(int fd, data) except -1:
    cdef bytes octets = data if type(data) is bytes else bytes(data)
    cdef ssize_t count = c_send(fd, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets), MSG_NOSIGNAL)
    if count < 0:
        if errno != EAGAIN:
            PyErr_SetFromErrno(OSError)
        return 0
    return count


cpdef Py_ssize_t send_last(int fd, bytes data) except -1:
    cdef ssize_t count = c_send(fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), MSG_NOSIGNAL | MSG_MORE)
    if count < 0:
        if errno != EAGAIN:
            PyErr_SetFromErrno(OSError)
        return 0
    return count


cpdef give_number(int fd, unsigned int number):
    if c_write(fd, &number, 4) < 0:
        PyErr_SetFromErrno(OSError)


cpdef end_sending(int fd):
    if shutdown(fd, SHUT_WR) < 0:
        PyErr_SetFromErrno(OSError)


cpdef close(int fd):
    if c_close(fd) < 0:
        PyErr_SetFromErrno(OSError)


cdef Py_ssize_t _dotted(char *out, const uint8_t *octets) noexcept:
    """An IPv4 address: how much."""
    cdef Py_ssize_t at = 0, place
    for place in range(4):
        if place:
            out[at] = 46
            at += 1
        at += decimal(out + at, octets[place])
    return at


cpdef tuple accept(int listening):
    cdef sockaddr_storage address
    cdef unsigned int size = sizeof(address)
    cdef Py_ssize_t length
    cdef char text[64]
    cdef int none = 0
    cdef int fd = c_accept(listening, <sockaddr *>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    setsockopt(fd, IPPROTO_IP, MINTTL, &none, sizeof(none))
    if address.ss_family == AF_INET:
        length = _dotted(text, <const uint8_t *>&(<sockaddr_in *>&address).sin_addr)
        return fd, text[:length].decode("ascii"), ntohs((<sockaddr_in *>&address).sin_port)
    setsockopt(fd, IPPROTO_IPV6, MINHOPCOUNT, &none, sizeof(none))
    inet_ntop(AF_INET6, &(<sockaddr_in6 *>&address).sin6_addr, text, sizeof(text))
    return fd, text.decode("ascii"), ntohs((<sockaddr_in6 *>&address).sin6_port)


cpdef int dial(str address, int port, str source="") except -1:
    cdef sockaddr_in six_or_four
    cdef sockaddr_in6 six
    cdef int fd, result, number, yes = 1
    cdef bytes text = address.encode()
    cdef int family = AF_INET6 if b":" in text else AF_INET
    if source:
        return _dial_by_name(address, port, source)
    fd = c_socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        PyErr_SetFromErrno(OSError)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes))
    if family == AF_INET:
        memset(&six_or_four, 0, sizeof(six_or_four))
        six_or_four.sin_family = AF_INET
        six_or_four.sin_port = htons(port)
        result = inet_pton(AF_INET, text, &six_or_four.sin_addr)
        number = 0
        if result == 1 and c_connect(fd, <sockaddr *>&six_or_four, sizeof(six_or_four)) < 0:
            number = errno
    else:
        memset(&six, 0, sizeof(six))
        six.sin6_family = AF_INET6
        six.sin6_port = htons(port)
        result = inet_pton(AF_INET6, text, &six.sin6_addr)
        number = 0
        if result == 1 and c_connect(fd, <sockaddr *>&six, sizeof(six)) < 0:
            number = errno
    if result != 1:
        c_close(fd)
        return _dial_by_name(address, port, "")
    if number != 0 and number != EINPROGRESS:
        c_close(fd)
        raise OSError(number, os.strerror(number))
    return fd


cdef int _dial_by_name(str address, int port, str source) except -1:
    """An address that only the library knows to read, such as one with a zone (fe80::1%eth0); or from one of ours."""
    import socket

    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            connection.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT, see system.py
            connection.bind((source, 0))
        number = connection.connect_ex((address, port))
        if number not in (0, EINPROGRESS):
            raise OSError(number, os.strerror(number))
    except OSError:
        connection.close()
        raise
    return connection.detach()


cpdef double wall():
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cpdef double monotonic():
    return _monotonic()


cdef class Shared:
    """See system.py."""

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self._map, PyBUF_WRITABLE)
        self._held = True
        self._numbers = <uint64_t *>self._map.buf
        self._count = self._map.len // 8
        if <size_t>self._map.buf % 8:
            raise ValueError("numbers begin at a multiple of eight")

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._map)

    cpdef uint64_t read(self, Py_ssize_t cell) except? 0xffffffffffffffff:
        if not 0 <= cell < self._count:
            _no_such(cell)
        return self._numbers[cell]

    cpdef write(self, Py_ssize_t cell, uint64_t number):
        if not 0 <= cell < self._count:
            _no_such(cell)
        self._numbers[cell] = number

    cpdef add(self, Py_ssize_t cell, int64_t amount):
        if not 0 <= cell < self._count:
            _no_such(cell)
        self._numbers[cell] += <uint64_t>amount

    cpdef uint64_t total(self, Py_ssize_t first, Py_ssize_t step, Py_ssize_t end) except? 0xffffffffffffffff:
        cdef uint64_t found = 0
        if first < 0 or step <= 0 or end > self._count:
            raise IndexError("there are no such cells")
        while first < end:
            found += self._numbers[first]
            first += step
        return found

    cpdef bint fill(self, Py_ssize_t cell, int fd) except -1:
        if not 0 <= cell < self._count:
            _no_such(cell)
        if c_read(fd, self._numbers + cell, 4) < 0:
            if errno != EAGAIN:
                PyErr_SetFromErrno(OSError)
            return False
        return True

    cpdef put(self, Py_ssize_t at, bytes octets):
        self._store(at, PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))

    cdef int _store(self, Py_ssize_t at, const char *octets, Py_ssize_t length) except -1:
        if at < 0 or length > self._map.len - at:
            raise IndexError("octets behind the end")
        memcpy(<char *>self._map.buf + at, octets, length)
        return 0


cdef int _no_such(Py_ssize_t cell) except -1:
    raise IndexError(f"there is no cell {cell}")


cdef class Packer:
    """See system.py."""

    def __init__(self, str form, Shared shared, Py_ssize_t draft_at):
        cdef Py_ssize_t width
        self._shared = shared
        self._draft_at = draft_at
        self._count = 0
        self._size = CHECKSUM_OCTETS
        digits = ""
        for letter in form.removeprefix("<"):
            if letter.isdecimal():
                digits += letter
                continue
            if letter not in "BHIQds" or (digits and letter != "s") or self._count == MOST_COLUMNS:
                raise ValueError("a column of a kind that no row has, or too many of them")
            width = int(digits or struct.calcsize(f"<{letter}"))
            self._kinds[self._count] = ord(letter)
            self._widths[self._count] = width
            self._count += 1
            self._size += width
            digits = ""
        if self._size > MOST_OF_ROW:
            raise ValueError("columns that are larger than any row's")

    @cython.boundscheck(False)  # there are as many values as columns
    @cython.wraparound(False)
    cpdef put(self, Py_ssize_t at, long row, tuple values):
        # It is made here and put there in one piece: so whoever reads meanwhile finds little of it torn.
        cdef char octets[MOST_OF_ROW + 8]
        cdef char *out = octets + CHECKSUM_OCTETS
        cdef const char *text
        cdef Py_ssize_t place, width, length = 0
        cdef uint64_t whole
        cdef double number
        cdef timespec now
        if len(values) != self._count - 1:
            raise ValueError("as many values as there are columns")
        memset(octets, 0, self._size)
        clock_gettime(CLOCK_MONOTONIC, &now)
        whole = <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec
        memcpy(out, &whole, 8)  # little-endian, as are the processors for which this is compiled
        out += 8
        for place in range(1, self._count):
            width = self._widths[place]
            value = values[place - 1]
            if self._kinds[place] == 115:  # s
                if type(value) is str:
                    text = PyUnicode_AsUTF8AndSize(value, &length)
                elif type(value) is bytes:
                    text = PyBytes_AS_STRING(value)
                    length = PyBytes_GET_SIZE(value)
                else:
                    raise TypeError("text is wanted")
                if length:
                    memcpy(out, text, min(width, length))
            elif self._kinds[place] == 100:  # d
                number = value
                memcpy(out, &number, 8)
            else:
                whole = value
                if width < 8 and whole >> (8 * width):
                    raise OverflowError("a number that is too large for its column")
                memcpy(out, &whole, 8)  # one step, unlike fewer: what is too much is zero, or the next number's place
            out += width
        whole = checksum_at(octets + CHECKSUM_OCTETS, self._size - CHECKSUM_OCTETS) | <uint64_t>(row + 1) << 32
        memcpy(octets, &whole, CHECKSUM_OCTETS)
        # For who reads on another processor, too, the row before is whole before its draft is not, and so on.
        keep_order(RELEASE)
        self._shared._store(self._draft_at, octets, self._size)
        keep_order(RELEASE)
        self._shared._store(at, octets, self._size)


cdef class Observer:
    """See system.py."""

    def __init__(self, Shared shared, Py_ssize_t first, *, bounds, Py_ssize_t event):
        cdef Py_ssize_t place
        self._shared = shared
        self._first = first
        self._buckets = len(bounds)
        if self._buckets > MOST_BUCKETS:
            raise ValueError("more buckets than any histogram has")
        self._sum = first + self._buckets + 1
        self._event = event
        for place in range(self._buckets):
            self._bounds[place] = bounds[place]

    cpdef observe(self, double seconds):
        cdef int64_t microseconds = <int64_t>(seconds * 1e6 + 0.5)
        cdef Py_ssize_t place = 0
        while place < self._buckets and <int64_t>self._bounds[place] < microseconds:
            place += 1
        self._shared.add(self._first + place, 1)
        self._shared.add(self._sum, microseconds)
        if self._event >= 0:
            self._shared.add(self._event, 1)
