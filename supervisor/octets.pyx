"""The compiled form of octets.py, which says what everything is for."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_Check, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.type cimport PyType_IsSubtype
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        object (*tp_alloc)(PyTypeObject *, Py_ssize_t)
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    bint PyUnicode_IS_COMPACT_ASCII(object)
    long long PyLong_AsLongLongAndOverflow(object, int *) except? -1

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #include <zlib.h>

    /* From 3.14 on a tuple remembers its hash, and -1 says that it does not know it yet: tp_alloc leaves 0 there, which
       would be taken for it. */
    #if PY_VERSION_HEX >= 0x030E0000
    #define forget_hash(made) (((PyTupleObject *)(made))->ob_hash = -1)
    #else
    #define forget_hash(made) ((void)(made))
    #endif

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>

    /* What is left of x to the power of n when it is divided by the polynomial of CRC-32. Polynomials are numbers here as
       that CRC has them: the lowest bit is the coefficient of the highest power. */
    static uint64_t power(int n) {
        uint32_t left = 0x80000000u;
        while (n--)
            left = left >> 1 ^ (left & 1 ? 0xedb88320u : 0);
        return (uint64_t)left << 1;
    }

    #define POLYNOMIAL 0x1db710641u
    #define QUOTIENT 0x1f7011641u  /* x to the power of 64, divided by it, without what is left */

    /* Sixteen octets stand for a polynomial. In front of sixteen others they come to the same, when they are multiplied
       by x to the power of 128 and divided: so each step folds them into the next ones, by two multiplications without
       carry. The first sixteen are filled up with zeros in front, which change nothing. What is left of all is sixteen
       octets: 128 bits become 96, and 64, by two more multiplications; these are divided by multiplying with the
       quotient (Barrett). */
    __attribute__((target("pclmul"))) static uint32_t folded(const uint8_t *octets, size_t length) {
        static uint64_t early, late, last;
        uint8_t first[32] = {0};
        size_t at = length % 16 + 16, place = 32 - at;
        uint32_t begun;
        uint64_t left;
        if (!early) {
            last = power(64);
            late = power(128 - 32);
            early = power(128 + 32);
        }
        memcpy(first + place, octets, at);
        memcpy(&begun, first + place, 4);
        begun = ~begun;
        memcpy(first + place, &begun, 4);
        __m128i by = _mm_set_epi64x(late, early), product;
        __m128i sum = _mm_loadu_si128((const __m128i *)first), next = _mm_loadu_si128((const __m128i *)(first + 16));
        while (1) {
            product = _mm_xor_si128(_mm_clmulepi64_si128(sum, by, 0x00), _mm_clmulepi64_si128(sum, by, 0x11));
            sum = _mm_xor_si128(product, next);
            if (at >= length)
                break;
            next = _mm_loadu_si128((const __m128i *)(octets + at));
            at += 16;
        }
        sum = _mm_xor_si128(_mm_clmulepi64_si128(sum, by, 0x10), _mm_srli_si128(sum, 8));
        by = _mm_set_epi64x(0, last);
        product = _mm_clmulepi64_si128(_mm_and_si128(sum, _mm_set_epi64x(0, 0xffffffffu)), by, 0x00);
        sum = _mm_xor_si128(product, _mm_srli_si128(sum, 4));
        left = (uint64_t)_mm_cvtsi128_si64(sum);
        product = _mm_clmulepi64_si128(_mm_set_epi64x(0, left & 0xffffffffu), _mm_set_epi64x(0, QUOTIENT), 0x00);
        product = _mm_and_si128(product, _mm_set_epi64x(0, 0xffffffffu));
        product = _mm_clmulepi64_si128(product, _mm_set_epi64x(0, POLYNOMIAL), 0x00);
        return ~(uint32_t)((left ^ (uint64_t)_mm_cvtsi128_si64(product)) >> 32);
    }

    static uint32_t checksum_of(const uint8_t *octets, size_t length) {
        if (length >= 32 && __builtin_cpu_supports("pclmul"))
            return folded(octets, length);
        return crc32(0, octets, (unsigned int)length);
    }
    #else
    static uint32_t checksum_of(const uint8_t *octets, size_t length) {
        return crc32(0, octets, (unsigned int)length);
    }
    #endif
    """
    uint32_t checksum_of(const uint8_t *, size_t) nogil
    void forget_hash(object)

cdef enum:
    MOST_OF_LINE = 4096
    LONGEST_HEAD = 1024
    LONGEST_TEXT = 512  # as in logline.py


cpdef namedtuple_of(type kind, tuple fields):
    cdef Py_ssize_t place, length = PyTuple_GET_SIZE(fields)
    cdef object made, field
    if not PyType_IsSubtype(kind, tuple):
        raise TypeError("no kind of tuple")
    made = (<PyTypeObject *>kind).tp_alloc(<PyTypeObject *>kind, length)
    for place in range(length):
        field = <object>PyTuple_GET_ITEM(fields, place)
        Py_INCREF(field)  # PyTuple_SET_ITEM takes it over
        PyTuple_SET_ITEM(made, place, field)
    forget_hash(made)
    return made


cpdef tuple fields_of(made):
    cdef Py_ssize_t place, length
    cdef object field
    if not PyTuple_Check(made):
        raise TypeError("no kind of tuple")
    length = PyTuple_GET_SIZE(made)
    plain = PyTuple_New(length)
    for place in range(length):
        field = <object>PyTuple_GET_ITEM(made, place)
        Py_INCREF(field)
        PyTuple_SET_ITEM(plain, place, field)
    return plain


cpdef bytes joined(bytes first, bytes second):
    cdef Py_ssize_t length
    cdef bytes both
    if first is None or second is None:
        raise TypeError("no octets")
    length = PyBytes_GET_SIZE(first)
    if length == 0:
        return second
    if PyBytes_GET_SIZE(second) == 0:
        return first
    both = PyBytes_FromStringAndSize(NULL, length + PyBytes_GET_SIZE(second))
    memcpy(PyBytes_AS_STRING(both), PyBytes_AS_STRING(first), length)
    memcpy(PyBytes_AS_STRING(both) + length, PyBytes_AS_STRING(second), PyBytes_GET_SIZE(second))
    return both


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


cpdef bint is_plain(bytes octets) except -1:
    cdef const uint8_t *here
    cdef Py_ssize_t place, length
    if octets is None:
        raise TypeError("no octets")
    here = <const uint8_t *>PyBytes_AS_STRING(octets)
    length = PyBytes_GET_SIZE(octets)
    for place in range(length):
        if not 0x20 <= here[place] <= 0x7E:
            return False
    return True


cpdef unsigned int checksum(bytes octets) except? 0xffffffff:
    return checksum_of(<const uint8_t *>PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets))


cdef unsigned int checksum_at(const char *octets, Py_ssize_t length) noexcept:
    return checksum_of(<const uint8_t *>octets, length)


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


cpdef bytes entry(str head, tuple labels, tuple values):
    cdef char out[MOST_OF_LINE]
    cdef const char *text
    cdef Py_ssize_t at, fields, length, place
    cdef bytes label
    cdef long long whole
    cdef int overflow = 0
    text = PyUnicode_AsUTF8AndSize(head, &length)
    if length > LONGEST_HEAD:
        return None
    memcpy(out, text, length)
    at = fields = length
    for place in range(len(labels)):
        if at > MOST_OF_LINE - LONGEST_HEAD:
            return None
        label = labels[place]
        length = PyBytes_GET_SIZE(label)
        if length > 66:
            return None
        memcpy(out + at, PyBytes_AS_STRING(label), length)
        at += length
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
