from popular.proxy.session.machine.exchanges cimport Exchanges

from popular.proxy.session.backend.backend_login cimport BackendLogin
from popular.proxy.session.machine.surroundings cimport Surroundings
from popular.proxy.session.machine.verbs cimport Verbs

cdef class Teller(Exchanges):
    cdef public BackendLogin _dialogue
    cdef public object _own_limits
    cdef public long _row_number
    cdef public str backend_id, target
    cdef _set_up(self, Verbs verbs, Surroundings around, tuple peer)
