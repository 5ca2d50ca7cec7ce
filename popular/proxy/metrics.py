"""The metrics of `pproxy`, beside those that every program has."""

from popular.metrics import NETWORK, TLS, traffic
from popular.pdm.guarded import CACHED
from popular.pdm.shadow import SHADOWED
from popular.proxy.session.backend.backend_login import FAILURES as BACKEND_FAILURES
from popular.proxy.session.backend.reach import ELSEWHERE
from popular.proxy.session.backend.rejections import DEFERRALS
from popular.proxy.session.machine.authentication import CREDENTIALS
from popular.proxy.session.machine.endings import LOGIN_FAILURES
from popular.proxy.session.shared.module_chain import ANSWERS
from popular.proxy.session.shared.question_queue import DROPPED
from popular.proxy.settings.drift import DRIFT
from popular.proxy.settings.healthuser import HEALTHUSER
from popular.proxy.settings.limits import LIMITS, OF_VSERV
from popular.proxy.settings.reports import REPORTS
from popular.proxy.settings.standing import RECORD
from supervisor.metric import (
    CountOf,
    Counts,
    Described,
    Durations,
    Label,
    Living,
    Metric,
    OfHealth,
    OfRecord,
    SomeLabels,
    StandingSeconds,
    Things,
    UpDownCounter,
)
from supervisor.table.contents import microseconds

VSERV = Things(sort="vserv", name="vserv", facts="vservs", column="vserv")
BACKEND = Things(sort="backend", name="backend", facts="backends", column="backend")
MODULE = Things(sort="pdm", name="module", facts="modules")

REFUSALS = {
    "vserv_disabled": "vserv_disabled",
    "proxy_header": "proxy_header",
    "blocked": "blocked",
    "tls_failed": "tls",
}
"""Endings by which a session is turned away before a login was possible, and what the reason is called."""

LOCAL = microseconds(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)

_LOGINS = (
    Metric(
        "popular_logins_total",
        "Logins that succeeded: the backend let the user in, or an empty mailbox is shown.",
        CountOf("logins", histogram="login_duration"),
        (VSERV,),
    ),
    Metric(
        "popular_sasl_logins_total",
        "Logins that succeeded by AUTH or APOP, by mechanism. All others are by USER and PASS.",
        Counts("sasl_logins"),
        (VSERV, Label("mechanism", tuple(CREDENTIALS))),
    ),
    Metric(
        "popular_login_failures_total",
        f"Logins that failed, by reason: {'; '.join(f'{word}: {why}' for word, why in LOGIN_FAILURES.items())}.",
        Counts("login_failures"),
        (VSERV, Label("reason", tuple(LOGIN_FAILURES))),
    ),
    Metric(
        "popular_logins_limited_total",
        "Logins that a limit refused, by the limit.",
        Counts("limited"),
        (Label("limit", LIMITS),),
    ),
    Metric(
        "popular_vserv_logins_limited_total",
        "Logins that a limit of the virtual server refused: its sessions, its logins a second.",
        Counts("vserv_limited"),
        (VSERV, Label("limit", OF_VSERV)),
    ),
    Metric(
        "popular_limit_reports_total",
        "Logins that a limit on trial would have refused or held back, by the limit.",
        Counts("limit_reports"),
        (Label("limit", LIMITS),),
    ),
    Metric(
        "popular_logins_reported_total",
        "Logins that a stricter configuration would refuse, by the report (`report cleartext`, `report tls`).",
        Counts("logins_reported"),
        (Label("report", tuple(REPORTS)),),
    ),
    Metric(
        "popular_cluster_workers_alone",
        "Workers that the server of the cluster does not answer; their limits count locally.",
        UpDownCounter("clusters_lost"),
    ),
    Metric(
        "popular_cluster_namesakes",
        "Workers that know of another proxy of the cluster with our name (sidprefix); users are not moved meanwhile.",
        UpDownCounter("cluster_namesakes"),
    ),
    Metric(
        "popular_login_duration_seconds",
        "From accept to the positive answer to the login, the client's own pauses included.",
        Durations("login_duration", NETWORK),
        (VSERV,),
        unit="s",
    ),
    Metric(
        "popular_sessions_refused_total",
        "Sessions that were turned away before a login was possible, by reason.",
        SomeLabels("sessions_ended", REFUSALS),
        (Label("reason"),),
    ),
    Metric(
        "popular_simulated_mailboxes_total",
        "Sessions that were shown an empty mailbox without asking a backend for it.",
        Counts("simulated"),
    ),
    Metric(
        "popular_sessions_recorded_total",
        "Sessions that were recorded for a trace (`trace start`).",
        Counts("sessions_recorded"),
    ),
    Metric(
        "popular_traces_filled_total",
        "Traces that had as much as they may have before their time was over.",
        Counts("traces_filled"),
    ),
    Metric(
        "popular_trace_bytes_total",
        "Octets of traces: written, or dropped, since the trace is full or the disk too slow for it.",
        Counts("trace_octets"),
        (Label("result", ("written", "dropped")),),
    ),
    Metric(
        "popular_module_lookups_total",
        "Questions put to a module.",
        CountOf("module_lookups", histogram="module_duration"),
        (MODULE,),
    ),
    Metric(
        "popular_module_failures_total",
        "Questions that a module could not answer.",
        Counts("module_failures"),
        (MODULE,),
    ),
    Metric(
        "popular_module_answers_total",
        f"Answers of a module, by kind: {'; '.join(f'{word}: {what}' for word, what in ANSWERS.items())}.",
        Counts("module_answers"),
        (MODULE, Label("answer", tuple(ANSWERS))),
    ),
    Metric(
        "popular_module_breakers_open",
        "Workers that do not ask a module for a while, because it has failed too many times in a row.",
        UpDownCounter("module_breakers_open"),
        (MODULE,),
    ),
    Metric(
        "popular_module_threads",
        "Threads that are at work for a module that blocks.",
        UpDownCounter("module_threads"),
        (MODULE,),
    ),
    Metric(
        "popular_module_cache_lookups_total",
        "Lookups in a module's cache: hit, miss, or stale (an old answer was used because the module could not tell).",
        Counts("module_cache"),
        (MODULE, Label("result", CACHED)),
    ),
    Metric(
        "popular_module_shadow_answers_total",
        "Answers of a module that is on trial, compared with what the others came to; not_asked where too many of its "
        "questions were open.",
        Counts("module_shadow"),
        (MODULE, Label("result", SHADOWED)),
    ),
    Metric(
        "popular_master_logins_total",
        "Users whom a module vouched for though the password was not their own: a master password, say.",
        Counts("master_logins"),
        (MODULE,),
    ),
    Metric(
        "popular_module_queue_length",
        "Questions to modules that wait for a thread.",
        UpDownCounter("module_queue"),
    ),
    Metric(
        "popular_module_queue_duration_seconds",
        "How long questions to modules waited for a thread.",
        Durations("module_queue_duration", LOCAL),
        unit="s",
    ),
    Metric(
        "popular_module_questions_dropped_total",
        "Questions that were never put to a module: their client was gone, or too many were waiting.",
        Counts("module_questions_dropped"),
        (Label("reason", DROPPED),),
    ),
    Metric(
        "popular_module_skipped_lines",
        "Lines of a module's files that are bad, and skipped.",
        Described("skipped_lines"),
        (MODULE,),
    ),
    Metric(
        "popular_module_duration_seconds",
        "How long a module took to answer a question.",
        Durations("module_duration", LOCAL),
        (MODULE,),
        unit="s",
    ),
)

_BACKENDS = (
    Metric(
        "popular_mail_checks_total",
        "Mail checks by UDP, by answer.",
        Counts("mail_checks"),
        (Label("answer", ("empty", "mail", "load", "unanswered")),),
    ),
    Metric(
        "popular_mail_check_duration_seconds",
        "How long the answer to a mail check took, or until it counted as lost.",
        Durations("mail_check_duration", NETWORK),
        unit="s",
    ),
    Metric(
        "popular_backend_configured_online",
        "1 if the backend is configured as online, else 0.",
        Described("state", equals="online"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_recent_failures_ratio",
        "Part of the attempts to log in to a backend that failed in the last minute; 0 if there were none.",
        OfHealth("ratio"),
        (BACKEND,),
        unit="ratio",
    ),
    Metric(
        "popular_backend_failing_seconds",
        "For how long attempts to log in to a backend have been failing, a minute apart at most; 0: they do not.",
        OfHealth("age"),
        (BACKEND,),
        unit="s",
    ),
    Metric(
        "popular_backend_down_seconds",
        "For how long a backend has been down, as its logins or its check have found; 0: it is not.",
        OfHealth("down"),
        (BACKEND,),
        unit="s",
    ),
    Metric(
        "popular_backend_recovering",
        "1 if a backend that was down is tried, or gets a share of its logins again, else 0.",
        OfHealth("recovering"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_affected_users",
        "How many different users could not log in because of a backend since it was last well: an estimate.",
        OfHealth("users"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_drained_seconds",
        "For how long nobody new has been let in to a backend, because the operator drains it; 0: he does not.",
        StandingSeconds(RECORD.name, "drained"),
        (BACKEND,),
        unit="s",
    ),
    Metric(
        "popular_backend_hosts_moved",
        "Host names of a backend that stand for other addresses than when they were resolved (`backend resolve`).",
        Described("moved"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_capabilities_lacking",
        "Virtual servers that announce (CAPA) what the backend does not, as its check (`health`) has found.",
        OfRecord(DRIFT.name, "lacking"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_healthuser_refused",
        "1: the backend refuses the mailbox of its check (healthuser), and is well otherwise; 0: it does not.",
        OfRecord(HEALTHUSER.name, "refused"),
        (BACKEND,),
    ),
    Metric("popular_backend_sessions", "Living sessions that have the backend.", Living(), (BACKEND,)),
    Metric(
        "popular_backend_waiting_sessions",
        "Sessions that wait for the backend: for the mail check, the connection, or its answer to the login.",
        UpDownCounter("backend_waiting"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_connected_sessions",
        "Sessions that are at the backend, from the mail check or the attempt to connect to the end of the connection; "
        "see maxsessions in pproxy-control(7).",
        UpDownCounter("backend_places"),
        (BACKEND,),
    ),
    Metric(
        "popular_backends_waiting_sessions",
        "Sessions that wait for any backend; see maxwaiting in pproxy-control(7).",
        UpDownCounter("backends_waiting"),
    ),
    Metric(
        "popular_backend_logins_total",
        "Logins that a backend accepted.",
        CountOf("backend_logins", histogram="backend_login_duration"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_failures_total",
        "Attempts to log in to a backend that failed by its fault, by the step or the reason.",
        Counts("backend_failures"),
        (BACKEND, Label("reason", BACKEND_FAILURES)),
    ),
    Metric(
        "popular_backend_elsewhere_total",
        "Logins at a backend with several addresses that were made at another one than the first, by which.",
        Counts("backend_elsewhere"),
        (BACKEND, Label("which", ELSEWHERE)),
    ),
    Metric(
        "popular_logins_deferred_total",
        "Logins that a backend put off: the mailbox is in use, or was asked too soon. Neither logins nor failures.",
        Counts("logins_deferred"),
        (BACKEND, Label("reason", tuple(DEFERRALS.values()))),
    ),
    Metric(
        "popular_absorbed_polls_total",
        "Logins that were shown an empty mailbox without asking the backend, because it was empty a moment ago.",
        Counts("absorbed"),
        (BACKEND,),
    ),
    Metric(
        "popular_backend_connect_duration_seconds",
        "From the attempt to connect until the backend was there: its greeting, or, where it does not greet, the "
        "connection.",
        Durations("backend_connect_duration", NETWORK),
        (BACKEND,),
        unit="s",
    ),
    Metric(
        "popular_backend_login_duration_seconds",
        "From there to the backend's positive answer to the login.",
        Durations("backend_login_duration", NETWORK),
        (BACKEND,),
        unit="s",
    ),
)

METRICS = (*_LOGINS, *_BACKENDS, *TLS, *traffic("client", "backend"))
