from popular.proxy.session.exchanges cimport Exchanges

from popular.proxy.session.backend_login cimport BackendLogin
from popular.proxy.session.surroundings cimport Surroundings
from popular.proxy.session.verbs cimport Verbs

cdef class Teller(Exchanges):
    cdef public BackendLogin _dialogue
    cdef public object _own_limits
    cdef public unsigned int _row_number
    cdef public str backend_id, target
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
