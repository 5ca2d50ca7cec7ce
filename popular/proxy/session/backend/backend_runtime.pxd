from popular.proxy.session.backend.backend_admission cimport BackendAdmission
from popular.proxy.session.backend.contracts cimport BackendKnowledge, HealthKnowledge
from popular.proxy.session.backend.mailcheck cimport CheckSockets
from popular.proxy.session.backend.rejections cimport UnexplainedRejections
from supervisor.system cimport Observer

cdef class BackendRuntime:
    cdef public object note_affected, reach, settings
    cdef public str address, id, source, state
    cdef public int port
    cdef public bint absorbs, asks_for_mail, in_clear, is_introduced, is_online, names_client, says_user, speaks_pop3
    cdef public bint tells_stls, trusts_us
    cdef public double connect_seconds, login_seconds, patience
    cdef public BackendKnowledge announced
    cdef public BackendAdmission admission
    cdef public CheckSockets check_sockets
    cdef public HealthKnowledge health
    cdef public Observer connect_durations, login_durations
    cdef public UnexplainedRejections rejections
