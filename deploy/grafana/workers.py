"""The board that shows what it takes: processes, processor, memory, descriptors, queues; and the control of it."""

from deploy.grafana.classic import Board, PanelLine
from deploy.grafana.overview import DRAINING, PRESSURE, SESSIONS_OF_LIMIT
from deploy.grafana.panels import NEAR_LIMIT, graph, limit, now, of_limit
from deploy.grafana.queries import gauge, rate, since

OF_PSERV = "Of pserv only."

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
                    width=5,
                ),
                graph(
                    "Changes of the configuration",
                    PanelLine(rate("config_changes_total"), "in force"),
                    PanelLine(rate("config_change_failures_total"), "taken back"),
                    width=5,
                ),
                graph("Log lines lost", rate("log_lines_lost_total", "instance"), width=4),
                graph("Audit lines lost", gauge("audit_not_written", "instance"), width=4),
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
