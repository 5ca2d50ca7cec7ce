from popular.proxy.session.authorization cimport Authorization

from popular.proxy.session.surroundings cimport Surroundings
from popular.proxy.session.verbs cimport Verbs

cdef class Teller(Authorization):
    cdef public object _announced, _backend, _health, _in_common, _login, _orders, _own_limits
    cdef public long _row
    cdef public bint _led_to_backup, counted
    cdef public str _home, backend, target
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
