"""What the three dashboards show: rates, errors and durations; backends and logins; workers and resources.

A board is rows of panels, a panel is expressions over the metric families (queries.py); titles and notes are all that
is written here by hand, the rest of a description is the families' own help.
"""

from deploy.grafana.classic import Board, PanelLine
from deploy.grafana.panels import (
    ANY_IS_BAD,
    BAD_IS_ONE,
    GOOD_IS_ONE,
    LASTING,
    LEVEL_WORDS,
    LEVELS,
    MANY_FAIL,
    NEAR_LIMIT,
    SLOW,
    SOME_FAIL,
    TIME_LEFT,
    failing,
    graph,
    limit,
    now,
    of_limit,
    quantiles,
)
from deploy.grafana.queries import buckets, gauge, quantile, rate, share, since, until, worst

NO_LIMIT = "A limit of 0 is none."
OF_PSERV = "Of pserv only."

SESSIONS_OF_LIMIT = of_limit("sessions", "session_limit", "instance", how="sum")
DRAINING = now("Draining", gauge("draining", "instance", how="max"), steps=BAD_IS_ONE, words=("no", "yes"))
PRESSURE = graph(
    "Processor pressure",
    gauge("pressure_ratio", "instance", how="max"),
    limit(gauge("pressure_limit_ratio", how="max")),
    note=NO_LIMIT,
)

OVERVIEW = Board(
    "popular-overview",
    "POPular / Overview",
    "Whether users are served: sessions and logins, failures, durations, limits.",
    "pproxy",
    (
        (
            "Now",
            (
                now("Sessions", gauge("sessions")),
                now("Session limit used", SESSIONS_OF_LIMIT, steps=NEAR_LIMIT, note="At 100 % clients must wait."),
                now("Logins", rate("logins_total")),
                now("Logins that fail", failing("login_failures_total", "logins_total"), steps=MANY_FAIL),
                now("Login, 95 %", quantile(0.95, "login_duration_seconds"), steps=SLOW),
                now("Session state", gauge("session_state", "instance", how="max"), steps=LEVELS, words=LEVEL_WORDS),
                now("Load state", gauge("load_state", "instance", how="max"), steps=LEVELS, words=LEVEL_WORDS),
                DRAINING,
            ),
        ),
        (
            "What is broken, since when, for how many",
            (
                now(
                    "Down for",
                    worst(5, gauge("backend_down_seconds", "backend", how="max")),
                    shape="bargauge",
                    width=6,
                    steps=LASTING,
                    note="Backends that were found down, and for how long they have been.",
                ),
                now(
                    "Logins that they refuse",
                    worst(5, rate("backend_failures_total", "backend")),
                    shape="bargauge",
                    width=6,
                    steps=ANY_IS_BAD,
                    note="How many users a second are told to come again, by backend.",
                ),
                now(
                    "Sessions that wait for them",
                    worst(5, gauge("backend_waiting_sessions", "backend")),
                    shape="bargauge",
                    width=6,
                ),
                now(
                    "Drained for",
                    worst(5, gauge("backend_drained_seconds", "backend", how="max")),
                    shape="bargauge",
                    width=6,
                    note="By the operator: nobody new is let in.",
                ),
                now(
                    "The worst five backends",
                    worst(5, gauge("backend_recent_failures_ratio", "backend", how="max")),
                    shape="bargauge",
                    width=8,
                    steps=SOME_FAIL,
                    note="Share of the attempts that failed in the last minute.",
                ),
                now(
                    "Failing for",
                    worst(5, gauge("backend_failing_seconds", "backend", how="max")),
                    shape="bargauge",
                    width=8,
                    steps=LASTING,
                    note="Backends at which attempts go on failing, and for how long they have.",
                ),
                now(
                    "Last errors of backends",
                    worst(5, rate("backend_failures_total", "backend", "reason")),
                    shape="bargauge",
                    width=8,
                    steps=ANY_IS_BAD,
                ),
            ),
        ),
        (
            "What the operator has ordered",
            (
                now("Orders in force", gauge("orders"), width=4),
                now("Orders by what they do", gauge("orders_by_sort", "order"), width=8),
                now("Sessions that are to leave", gauge("sessions_leaving"), width=4),
                now("Moves that failed", rate("moves_total", result="undone"), steps=ANY_IS_BAD, width=4),
                now("Longest hold of a move", gauge("move_longest_hold_seconds", how="max"), width=4),
            ),
        ),
        (
            "Rates",
            (
                graph("Sessions accepted", rate("sessions_started_total", "vserv")),
                graph("Logins by virtual server", rate("logins_total", "vserv")),
                graph("Sessions ended", rate("sessions_ended_total", "ending"), stacked=True),
            ),
        ),
        (
            "Errors",
            (
                graph("Login failures by reason", rate("login_failures_total", "reason"), stacked=True),
                graph("Share that fails", failing("login_failures_total", "logins_total", "vserv"), whole=True),
                graph(
                    "Refused, and accepting paused",
                    PanelLine(rate("sessions_refused_total", "reason"), "refused"),
                    PanelLine(rate("accept_pauses_total", "reason"), "paused"),
                    PanelLine(rate("clients_turned_away_total"), "turned away"),
                ),
            ),
        ),
        (
            "Durations",
            (
                graph("Login", *quantiles("login_duration_seconds"), width=12),
                graph(
                    "Steps of a login, 95 %",
                    PanelLine(quantile(0.95, "tls_handshake_duration_seconds"), "TLS handshake"),
                    PanelLine(quantile(0.95, "module_duration_seconds"), "module"),
                    PanelLine(quantile(0.95, "mail_check_duration_seconds"), "mail check"),
                    PanelLine(quantile(0.95, "backend_connect_duration_seconds"), "connect"),
                    PanelLine(quantile(0.95, "backend_login_duration_seconds"), "backend login"),
                    width=12,
                ),
                graph("Logins by their duration", buckets("login_duration_seconds"), shape="heatmap", width=12),
                graph("Sessions by their duration", buckets("session_duration_seconds"), shape="heatmap", width=12),
            ),
        ),
        (
            "Limits and traffic",
            (
                graph(
                    "Sessions by state",
                    gauge("sessions", "state"),
                    limit(gauge("session_limit")),
                    stacked=True,
                    width=12,
                ),
                graph(
                    "Octets",
                    PanelLine(rate("received_bytes_total", "leg"), "received"),
                    PanelLine(rate("sent_bytes_total", "leg"), "sent"),
                    width=12,
                ),
                graph(
                    "Load",
                    gauge("load1", "instance", how="max"),
                    limit(gauge("load_limit", how="max")),
                    note=NO_LIMIT,
                    width=12,
                ),
                PRESSURE._replace(width=12),
            ),
        ),
    ),
)

BACKENDS = Board(
    "popular-backends",
    "POPular / Backends and logins",
    "Who lets users in, or does not: backends, modules, mail checks, TLS.",
    "pproxy",
    (
        (
            "Backends",
            (
                graph(
                    "Configured as online",
                    gauge("backend_configured_online", "backend", how="min"),
                    shape="state-timeline",
                    steps=GOOD_IS_ONE,
                    words=("off", "online"),
                    note="Off if it is so at any instance.",
                    width=6,
                ),
                graph("Sessions by backend", gauge("backend_sessions", "backend"), stacked=True, width=6),
                graph(
                    "At a backend",
                    gauge("backend_connected_sessions", "backend"),
                    note="From the mail check or the connection on. At maxsessions one more is turned away.",
                    width=6,
                ),
                graph(
                    "Waiting for a backend",
                    gauge("backend_waiting_sessions", "backend"),
                    note="For the mail check, the connection or the login. At maxwaiting one more is turned away.",
                    width=6,
                ),
                graph(
                    "Down for",
                    gauge("backend_down_seconds", "backend", how="max"),
                    note="Found down: its users are told at once to come again. The longest at any instance.",
                    width=12,
                ),
                graph(
                    "Recovering",
                    gauge("backend_recovering", "backend", how="max"),
                    note="It was down, and gets a growing share of its logins.",
                    width=12,
                ),
                graph(
                    "Not at the first address",
                    rate("backend_elsewhere_total", "backend"),
                    note="Connections to another of its addresses than the one that is preferred.",
                    width=12,
                ),
                graph(
                    "Host names that have moved",
                    gauge("backend_hosts_moved", "backend", how="max"),
                    note="backend resolve takes the new address.",
                    width=6,
                ),
                graph(
                    "Capabilities that differ",
                    gauge("backend_capabilities_lacking", "backend", how="max"),
                    note="Virtual servers that announce what the backend does not.",
                    width=6,
                ),
                graph(
                    "Waiting for any backend",
                    gauge("backends_waiting_sessions", "instance"),
                    note="Where backends hang they share half of maxsession.",
                    width=6,
                ),
                graph("Logins by backend", rate("backend_logins_total", "backend"), width=6),
                graph("Failures by reason", rate("backend_failures_total", "reason"), stacked=True, width=6),
                graph("Failures by backend", rate("backend_failures_total", "backend"), width=6),
                graph(
                    "Share of attempts that fail",
                    failing("backend_failures_total", "backend_logins_total", "backend"),
                    whole=True,
                    width=6,
                ),
                graph(
                    "Logins put off",
                    rate("logins_deferred_total", "reason"),
                    note="In use, or asked too soon.",
                    width=6,
                ),
                graph("Connect, 95 %", quantile(0.95, "backend_connect_duration_seconds", "backend"), width=6),
                graph("Login, 95 %", quantile(0.95, "backend_login_duration_seconds", "backend"), width=6),
            ),
        ),
        (
            "Logins",
            (
                graph("Logins by virtual server", rate("logins_total", "vserv")),
                graph("Login failures by virtual server", rate("login_failures_total", "vserv")),
                graph("Login failures by reason", rate("login_failures_total", "reason"), stacked=True),
                graph(
                    "Logins refused by limits",
                    rate("logins_limited_total", "limit"),
                    PanelLine(rate("vserv_logins_limited_total", "vserv"), "by those of {{vserv}}"),
                    width=6,
                ),
                graph(
                    "Limits on trial",
                    rate("limit_reports_total", "limit"),
                    note="Whom they would have refused or held back.",
                    width=6,
                ),
                graph(
                    "Logins that a stricter configuration would refuse",
                    rate("logins_reported_total", "report"),
                    note="`report cleartext` and `report tls` list whose they are.",
                    width=6,
                ),
                graph(
                    "Workers without their cluster",
                    PanelLine(gauge("cluster_workers_alone"), "its server does not answer"),
                    PanelLine(gauge("cluster_namesakes"), "another proxy has our name"),
                    width=6,
                ),
                graph("Logins by SASL mechanism", rate("sasl_logins_total", "mechanism"), stacked=True, width=5),
                graph("Login by virtual server, 95 %", quantile(0.95, "login_duration_seconds", "vserv"), width=5),
                graph(
                    "Mailboxes shown empty",
                    PanelLine(rate("simulated_mailboxes_total"), "shown empty"),
                    PanelLine(rate("absorbed_polls_total"), "absorbed, a moment after it was empty"),
                    PanelLine(rate("logins_total"), "all logins"),
                    width=5,
                ),
                graph(
                    "Sessions that are recorded",
                    PanelLine(rate("sessions_recorded_total"), "a second"),
                    PanelLine(gauge("orders_by_sort", order="trace"), "traces"),
                    PanelLine(rate("traces_filled_total"), "full too early, a second"),
                    note="For traces.",
                    width=5,
                ),
                graph("What is written of traces, and dropped", rate("trace_bytes_total", "result"), width=4),
            ),
        ),
        (
            "Modules and mail checks",
            (
                graph("Questions to modules", rate("module_lookups_total", "module")),
                graph(
                    "Share of questions without an answer",
                    share(rate("module_failures_total", "module"), rate("module_lookups_total", "module")),
                    whole=True,
                ),
                graph("Answer of a module, 95 %", quantile(0.95, "module_duration_seconds", "module")),
                graph("Master logins by module", rate("master_logins_total", "module")),
                graph("Questions that wait for a thread", gauge("module_queue_length")),
                graph("Wait for a thread", *quantiles("module_queue_duration_seconds")),
                graph(
                    "Questions that were dropped, by reason",
                    rate("module_questions_dropped_total", "reason"),
                    stacked=True,
                    note="Gone: the client had left. Refused: too many were waiting.",
                    width=6,
                ),
                graph("Bad lines of user files", gauge("module_skipped_lines", "module", how="max"), width=6),
                graph("Mail checks by answer", rate("mail_checks_total", "answer"), stacked=True, width=6),
                graph("Mail check", *quantiles("mail_check_duration_seconds"), width=6),
                graph("Answers of modules", rate("module_answers_total", "answer"), width=6),
                graph("Workers that do not ask a module", gauge("module_breakers_open", "module"), width=4),
                graph("Threads of a module", gauge("module_threads", "module"), width=4),
                graph("Lookups in caches of modules", rate("module_cache_lookups_total", "result"), width=6),
                graph("Modules on trial", rate("module_shadow_answers_total", "result"), width=4),
            ),
        ),
        (
            "TLS with clients",
            (
                graph("Handshakes by version", rate("tls_handshakes_total", "version"), width=6, stacked=True),
                graph(
                    "Failed handshakes by reason",
                    rate("tls_handshake_failures_total", "reason"),
                    width=6,
                    stacked=True,
                ),
                graph(
                    "Shares of handshakes",
                    PanelLine(share(rate("tls_resumptions_total"), rate("tls_handshakes_total")), "resumed"),
                    PanelLine(failing("tls_handshake_failures_total", "tls_handshakes_total"), "failed"),
                    note="Resumed: of those that succeed. Failed: of all.",
                    width=6,
                    whole=True,
                ),
                graph("Handshake", *quantiles("tls_handshake_duration_seconds"), width=6),
                now(
                    "Certificates: time left",
                    until("tls_certificate_not_after_timestamp_seconds", "certificate"),
                    shape="bargauge",
                    width=24,
                    steps=TIME_LEFT,
                ),
            ),
        ),
    ),
)

WORKERS = Board(
    "popular-workers",
    "POPular / Workers and resources",
    "What it takes: processes, processor, memory, descriptors, queues; and the control of it.",
    "pproxy|pserv",
    (
        (
            "Now",
            (
                now("Up for", since("start_time_seconds", "instance"), width=6),
                now(
                    "Workers",
                    PanelLine(gauge("workers"), "living"),
                    PanelLine(gauge("workers_configured"), "configured"),
                    width=6,
                ),
                now("Configuration", gauge("config_generation", "instance", how="max"), width=6),
                DRAINING._replace(width=6),
            ),
        ),
        (
            "Utilisation",
            (
                graph("Processor time", rate("cpu_seconds_total", "instance"), note="100 % is one processor."),
                graph("Memory", gauge("worker_resident_memory_bytes", "instance", "worker", how="max")),
                graph("Open descriptors", gauge("worker_open_fds", "instance", "worker", how="max")),
                graph("Sessions by worker", gauge("worker_sessions", "instance", "worker"), stacked=True),
                graph("Session limit used", SESSIONS_OF_LIMIT, steps=NEAR_LIMIT, whole=True),
                graph(
                    "Sessions and their limits",
                    gauge("sessions", "instance"),
                    limit(gauge("session_limit", how="max"), "maxsession"),
                    limit(gauge("session_table_size", how="max"), "sessionlimit"),
                    note="Limits of the instance that may have most: maxsession, and how far it can be raised.",
                ),
            ),
        ),
        (
            "Saturation",
            (
                graph("Event loop lag", gauge("event_loop_lag_seconds", "instance", "worker", how="max")),
                graph("Silence of workers", gauge("worker_heartbeat_age_seconds", "instance", "worker", how="max")),
                graph("Accepting paused", rate("accept_pauses_total", "instance", "reason")),
                graph("Waiting to be accepted", gauge("accept_queue_length", "instance", "vserv")),
                graph(
                    "Accept queues filled",
                    of_limit("accept_queue_length", "accept_queue_limit", "instance", "vserv", "slot"),
                    steps=NEAR_LIMIT,
                    whole=True,
                ),
                PRESSURE,
            ),
        ),
        (
            "Errors and control",
            (
                graph("Workers ended, by cause", rate("worker_restarts_total", "instance", "cause"), width=6),
                graph(
                    "Commands",
                    PanelLine(rate("control_sentences_total"), "asked"),
                    PanelLine(rate("control_refusals_total"), "refused"),
                    width=6,
                ),
                graph(
                    "Changes of the configuration",
                    PanelLine(rate("config_changes_total"), "in force"),
                    PanelLine(rate("config_change_failures_total"), "taken back"),
                    width=6,
                ),
                graph("Log lines lost", rate("log_lines_lost_total", "instance"), width=6),
            ),
        ),
        (
            "Storage server",
            (
                graph("Mailboxes opened", rate("mailboxes_opened_total", "instance"), note=OF_PSERV, width=8),
                graph("Refused: not trusted", rate("untrusted_peers_total", "instance"), note=OF_PSERV, width=8),
                graph(
                    "Messages",
                    PanelLine(rate("messages_retrieved_total"), "retrieved"),
                    PanelLine(rate("messages_deleted_total"), "deleted"),
                    note=OF_PSERV,
                    width=8,
                ),
            ),
        ),
    ),
)

BOARDS = (OVERVIEW, BACKENDS, WORKERS)
