"""The compiled form of octets.py, which says what everything is for."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memchr, memcpy

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object)
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1

cdef enum:
    MOST_OF_LINE = 4096
    LONGEST_HEAD = 1024
    LONGEST_TEXT = 512  # as in logline.py


cpdef Py_ssize_t find(bytes octets, int octet) except -2:
    cdef const char *text = PyBytes_AS_STRING(octets)
    cdef const char *found = <const char *>memchr(text, octet, PyBytes_GET_SIZE(octets))
    return -1 if found == NULL else found - text


cpdef bytes part(bytes octets, Py_ssize_t first, Py_ssize_t behind):
    if not 0 <= first <= behind <= PyBytes_GET_SIZE(octets):
        raise IndexError("no places of these octets")
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(octets) + first, behind - first)


cpdef unsigned int word_at(bytes octets) except? 0xffffffff:
    cdef unsigned int word = 0, octet
    cdef Py_ssize_t place, length = PyBytes_GET_SIZE(octets)
    for place in range(4):
        octet = <uint8_t>PyBytes_AS_STRING(octets)[place] if place < length else 0
        word = word << 8 | (octet - 32 if 97 <= octet <= 122 else octet)
    return word


cdef Py_ssize_t decimal(char *out, uint64_t number) noexcept:
    """Its digits: how many."""
    cdef char digits[20]
    cdef Py_ssize_t length = 0, place
    while True:
        digits[length] = <char>(48 + number % 10)
        length += 1
        number //= 10
        if number == 0:
            break
    for place in range(length):
        out[place] = digits[length - 1 - place]
    return length


cdef inline Py_ssize_t _plain(char *out, const char *text, Py_ssize_t length) noexcept:
    """Copies text that needs no escape: how much, or -1."""
    cdef Py_ssize_t place
    for place in range(length):
        if text[place] < 32 or text[place] > 126 or text[place] == 39 or text[place] == 92:
            return -1
        out[place] = text[place]
    return length


cdef Py_ssize_t _thousandths(char *out, double number) noexcept:
    """A number of thousandths as Python's `repr` writes it: how much, or -1 if it is none, or a large one."""
    cdef int64_t thousandths
    cdef Py_ssize_t length
    if not 0 <= number < 1e9:
        return -1
    thousandths = <int64_t>(number * 1000 + 0.5)
    if thousandths / 1000.0 != number:
        return -1
    length = decimal(out, <uint64_t>thousandths // 1000)
    out[length] = 46
    out[length + 1] = <char>(48 + thousandths // 100 % 10)
    out[length + 2] = <char>(48 + thousandths // 10 % 10)
    out[length + 3] = <char>(48 + thousandths % 10)
    length += 4
    while out[length - 1] == 48 and out[length - 2] != 46:
        length -= 1
    return length


cpdef bytes entry(str head, tuple names, tuple values):
    cdef char out[MOST_OF_LINE]
    cdef const char *text
    cdef Py_ssize_t at, fields, length, place
    cdef long long whole
    cdef int overflow = 0
    text = PyUnicode_AsUTF8AndSize(head, &length)
    if length > LONGEST_HEAD:
        return None
    memcpy(out, text, length)
    at = fields = length
    for place in range(len(names)):
        if at > MOST_OF_LINE - LONGEST_HEAD:
            return None
        text = PyUnicode_AsUTF8AndSize(names[place], &length)
        if length > 64:
            return None
        out[at] = 32
        memcpy(out + at + 1, text, length)
        out[at + 1 + length] = 61
        at += length + 2
        value = values[place]
        if type(value) is str:
            if not PyUnicode_IS_COMPACT_ASCII(value):
                return None
            text = PyUnicode_AsUTF8AndSize(value, &length)
            if length > LONGEST_TEXT:
                return None
            out[at] = 39
            length = _plain(out + at + 1, text, length)
            if length < 0:
                return None
            out[at + 1 + length] = 39
            at += length + 2
        elif type(value) is int:
            whole = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow:
                return None
            if whole < 0:
                return None
            at += decimal(out + at, <uint64_t>whole)
        elif type(value) is float:
            length = _thousandths(out + at, value)
            if length < 0:
                return None
            at += length
        else:
            return None
    if at - fields > LONGEST_TEXT:
        return None
    out[at] = 10
    return PyBytes_FromStringAndSize(out, at + 1)
