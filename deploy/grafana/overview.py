"""The board that shows whether users are served: rates, errors and durations; what is broken; limits."""

from deploy.grafana.classic import Board, PanelLine
from deploy.grafana.panels import (
    ANY_IS_BAD,
    BAD_IS_ONE,
    LASTING,
    LEVEL_WORDS,
    LEVELS,
    MANY_FAIL,
    NEAR_LIMIT,
    SLOW,
    SOME_FAIL,
    failing,
    graph,
    limit,
    now,
    of_limit,
    quantiles,
)
from deploy.grafana.queries import buckets, gauge, quantile, rate, worst

NO_LIMIT = "A limit of 0 is none."

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
                    width=6,
                    steps=SOME_FAIL,
                    note="Share of the attempts that failed in the last minute.",
                ),
                now(
                    "Failing for",
                    worst(5, gauge("backend_failing_seconds", "backend", how="max")),
                    shape="bargauge",
                    width=6,
                    steps=LASTING,
                    note="Backends at which attempts go on failing, and for how long they have.",
                ),
                now(
                    "For so many users",
                    worst(5, gauge("backend_affected_users", "backend")),
                    shape="bargauge",
                    width=6,
                    steps=ANY_IS_BAD,
                    note="Different ones whose logins failed there since the backend was last well, about.",
                ),
                now(
                    "Last errors of backends",
                    worst(5, rate("backend_failures_total", "backend", "reason")),
                    shape="bargauge",
                    width=6,
                    steps=ANY_IS_BAD,
                ),
            ),
        ),
        (
            "What the operator has ordered",
            (
                now("Orders in force", gauge("orders"), width=4),
                now("Orders by what they do", gauge("orders_by_sort", "order"), width=4),
                now("Orders not kept", gauge("orders_not_kept"), steps=ANY_IS_BAD, width=4),
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
