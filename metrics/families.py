"""Every metric there is, one row each: the exporter, the manual page, the dashboards and the tests read this table.

A row tells name, kind, help, labels, unit and where its numbers come from. The names and the units are those of
https://prometheus.io/docs/practices/naming/. No label ever holds a user's name or an address. A counter or histogram
whose label is the id of a configured thing exists, at 0, from the moment at which the thing is configured.
"""

from typing import NamedTuple

PREFIX = "popular_"

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"
INFO = "info"

BOTH = ("pproxy", "pserv")
PROXY = ("pproxy",)
STORE = ("pserv",)

TABLE = "shared table"
"""Counted by the processes in their blocks of the session table."""
ROWS = "session rows"
MASTER = "master"
"""Told by the master: the configuration, and what it alone sees."""
SYSTEM = "system"
"""Read from /proc by the exporter."""


class Family(NamedTuple):
    """One metric. `unit` is "s", "bytes", "ratio", "timestamp" or "" (a plain number)."""

    name: str
    """As it is scraped, with prefix and suffix; of a histogram without `_bucket`, `_sum` and `_count`."""
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    source: str = TABLE
    programs: tuple[str, ...] = BOTH
    row: str = ""
    """Its counter in the session table, if that has another name than the metric."""

    @property
    def stem(self) -> str:
        """Without prefix and suffix; or the name of its counter or histogram in the session table."""
        if self.row:
            return self.row
        stem = self.name.removeprefix(PREFIX)
        return stem.removesuffix("_total") if self.kind == COUNTER else stem.removesuffix("_seconds")


FAMILIES = (
    # The program and its configuration
    Family(
        "popular_build_info",
        INFO,
        "What runs: program, version, and the versions of Python and OpenSSL. Always 1.",
        ("program", "version", "python", "openssl"),
        source=MASTER,
    ),
    Family("popular_start_time_seconds", GAUGE, "When the program was started.", unit="timestamp", source=MASTER),
    Family("popular_config_generation", GAUGE, "Number of the running configuration; grows with each change."),
    Family("popular_config_changes_total", COUNTER, "Changes of the configuration that were put in force."),
    Family(
        "popular_config_change_failures_total",
        COUNTER,
        "Changes of the configuration that were tried in the workers and taken back.",
    ),
    Family("popular_control_sentences_total", COUNTER, "Sentences that the control language was asked to carry out."),
    Family("popular_control_refusals_total", COUNTER, "Sentences that were refused."),
    Family("popular_draining", GAUGE, "1 while the program is shutting down and finishes its sessions, else 0."),
    # Load
    Family("popular_load1", GAUGE, "Load average of the last minute, of the whole host."),
    Family("popular_load_limit", GAUGE, "Load at which nobody is accepted (maxlocalload); 0: no limit.", source=MASTER),
    Family(
        "popular_pressure_ratio",
        GAUGE,
        "Part of the last 10 seconds in which some process of our control group waited for a processor.",
        unit="ratio",
    ),
    Family(
        "popular_pressure_limit_ratio",
        GAUGE,
        "Pressure at which nobody is accepted (maxpressure); 0: no limit.",
        unit="ratio",
        source=MASTER,
    ),
    Family(
        "popular_load_state", GAUGE, "Load and pressure against their limits: 0 OK, 1 WARN, 2 MAX (nobody is accepted)."
    ),
    # Sessions
    Family("popular_session_state", GAUGE, "Sessions against their limit: 0 OK, 1 WARN, 2 MAX (nobody is accepted)."),
    Family("popular_session_limit", GAUGE, "The most sessions that there may be at once (maxsession)."),
    Family("popular_session_table_size", GAUGE, "The most that maxsession can be raised to (sessionlimit)."),
    Family(
        "popular_sessions",
        GAUGE,
        "Living sessions, by virtual server and by what they are doing.",
        ("vserv", "state"),
        source=ROWS,
    ),
    Family("popular_sessions_started_total", COUNTER, "Sessions accepted, by virtual server.", ("vserv",)),
    Family("popular_sessions_ended_total", COUNTER, "Sessions over, by ending.", ("ending",)),
    Family(
        "popular_sessions_refused_total",
        COUNTER,
        "Sessions that were turned away before a login was possible, by reason.",
        ("reason",),
        programs=PROXY,
    ),
    Family(
        "popular_accept_pauses_total",
        COUNTER,
        "Times that a worker stopped to accept, by reason: no session is free, load too high, out of descriptors.",
        ("reason",),
    ),
    Family(
        "popular_session_duration_seconds",
        HISTOGRAM,
        "How long sessions lasted, from accept to end.",
        unit="s",
    ),
    Family(
        "popular_received_bytes_total",
        COUNTER,
        "Octets of POP3 received, by leg. Those of the backend's login dialogue are not counted.",
        ("leg",),
        unit="bytes",
    ),
    Family(
        "popular_sent_bytes_total",
        COUNTER,
        "Octets of POP3 sent, by leg. Those of the backend's login dialogue are not counted.",
        ("leg",),
        unit="bytes",
    ),
    # Logins
    Family(
        "popular_logins_total",
        COUNTER,
        "Logins that succeeded: the backend let the user in, or an empty mailbox is shown.",
        ("vserv",),
        programs=PROXY,
    ),
    Family(
        "popular_login_failures_total",
        COUNTER,
        "Logins that failed, by reason: wrong password, unknown user, refused by the backend, modules cannot tell, "
        "backend not to be had.",
        ("vserv", "reason"),
        programs=PROXY,
    ),
    Family(
        "popular_login_duration_seconds",
        HISTOGRAM,
        "From accept to the positive answer to the login, the client's own pauses included.",
        ("vserv",),
        unit="s",
        programs=PROXY,
    ),
    Family(
        "popular_simulated_mailboxes_total",
        COUNTER,
        "Sessions that were shown an empty mailbox without asking a backend for it.",
        programs=PROXY,
        row="simulated",
    ),
    # Modules
    Family("popular_module_lookups_total", COUNTER, "Questions put to a module.", ("module",), programs=PROXY),
    Family(
        "popular_module_failures_total",
        COUNTER,
        "Questions that a module could not answer.",
        ("module",),
        programs=PROXY,
    ),
    Family(
        "popular_module_duration_seconds",
        HISTOGRAM,
        "How long a module took to answer a question.",
        ("module",),
        unit="s",
        programs=PROXY,
    ),
    # The mail check
    Family("popular_mail_checks_total", COUNTER, "Mail checks by UDP, by answer.", ("answer",), programs=PROXY),
    Family(
        "popular_mail_check_duration_seconds",
        HISTOGRAM,
        "How long the answer to a mail check took, or until it counted as lost.",
        unit="s",
        programs=PROXY,
    ),
    # Backends
    Family(
        "popular_backend_up",
        GAUGE,
        "1 if the backend is configured as online, else 0.",
        ("backend",),
        source=MASTER,
        programs=PROXY,
    ),
    Family(
        "popular_backend_sessions",
        GAUGE,
        "Living sessions that have the backend.",
        ("backend",),
        source=ROWS,
        programs=PROXY,
    ),
    Family("popular_backend_logins_total", COUNTER, "Logins that a backend accepted.", ("backend",), programs=PROXY),
    Family(
        "popular_backend_failures_total",
        COUNTER,
        "Attempts to log in to a backend that failed, by the step or the reason.",
        ("backend", "reason"),
        programs=PROXY,
    ),
    Family(
        "popular_backend_connect_duration_seconds",
        HISTOGRAM,
        "From the attempt to connect until the backend was there: its greeting, or, where it does not greet, the "
        "connection.",
        ("backend",),
        unit="s",
        programs=PROXY,
    ),
    Family(
        "popular_backend_login_duration_seconds",
        HISTOGRAM,
        "From there to the backend's positive answer to the login.",
        ("backend",),
        unit="s",
        programs=PROXY,
    ),
    # TLS with clients
    Family(
        "popular_tls_handshakes_total",
        COUNTER,
        "TLS handshakes with clients that succeeded, by version.",
        ("version",),
        programs=PROXY,
    ),
    Family(
        "popular_tls_handshake_failures_total",
        COUNTER,
        "TLS handshakes with clients that failed, by reason.",
        ("reason",),
        programs=PROXY,
        row="tls_failures",
    ),
    Family("popular_tls_resumptions_total", COUNTER, "TLS handshakes that resumed a session.", programs=PROXY),
    Family(
        "popular_tls_handshake_duration_seconds",
        HISTOGRAM,
        "How long TLS handshakes with clients took that succeeded.",
        unit="s",
        programs=PROXY,
    ),
    Family(
        "popular_tls_certificate_not_after_timestamp_seconds",
        GAUGE,
        "When a certificate ends.",
        ("certificate",),
        unit="timestamp",
        source=MASTER,
        programs=PROXY,
    ),
    # The storage server
    Family("popular_mailboxes_opened_total", COUNTER, "Mailboxes opened.", programs=STORE, row="opened"),
    Family("popular_messages_retrieved_total", COUNTER, "Messages sent whole.", programs=STORE, row="retrieved"),
    Family("popular_messages_deleted_total", COUNTER, "Messages removed.", programs=STORE, row="deleted"),
    # Workers. The label `worker` is the slot; a worker that finishes its sessions counts with its successor.
    Family("popular_workers", GAUGE, "Worker processes, with those that only finish their sessions."),
    Family("popular_workers_configured", GAUGE, "Workers that there shall be (workers)."),
    Family(
        "popular_worker_restarts_total",
        COUNTER,
        "Workers that ended, by cause: exit (an error of ours), signal (killed from outside), hung (killed because its "
        "loop did not turn), asked (recycled, or no longer wanted).",
        ("cause",),
    ),
    Family(
        "popular_event_loop_lag_seconds",
        GAUGE,
        "How late the event loop of a worker was at worst, in the last half minute.",
        ("worker",),
        unit="s",
    ),
    Family(
        "popular_worker_heartbeat_age_seconds",
        GAUGE,
        "For how long the event loop of a worker has shown no life; it does so once a second.",
        ("worker",),
        unit="s",
    ),
    Family("popular_worker_sessions", GAUGE, "Living sessions of a worker.", ("worker",), source=ROWS),
    Family(
        "popular_worker_resident_memory_bytes",
        GAUGE,
        "Memory of a worker that is in use, pages that it shares with others included.",
        ("worker",),
        unit="bytes",
        source=SYSTEM,
    ),
    Family("popular_worker_open_fds", GAUGE, "Open descriptors of a worker.", ("worker",), source=SYSTEM),
    Family(
        "popular_cpu_seconds_total",
        COUNTER,
        "Processor time of all processes of the program, those that have ended included.",
        unit="s",
        source=SYSTEM,
    ),
    # The queues of clients who are not accepted yet
    Family(
        "popular_accept_queue_length",
        GAUGE,
        "Connections that wait to be accepted, by virtual server and slot.",
        ("vserv", "slot"),
        source=MASTER,
    ),
    Family(
        "popular_accept_queue_limit",
        GAUGE,
        "The most connections that can wait there (backlog).",
        ("vserv", "slot"),
        source=MASTER,
    ),
)


def families_of(program: str) -> tuple[Family, ...]:
    """The rows that a program's exporter shows."""
    return tuple(family for family in FAMILIES if program in family.programs)
