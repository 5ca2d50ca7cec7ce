"""The metrics that every program has. Its own follow."""

from supervisor.metric import (
    COUNTER,
    INFO,
    SYSTEM,
    Counts,
    Durations,
    ExporterOwn,
    Label,
    Living,
    MasterGauge,
    Metric,
    OfItself,
    OfProcess,
    OrdersInForce,
    Queued,
    Setting,
)
from supervisor.program import Program
from supervisor.serving.context import PAUSES
from supervisor.serving.session import BASE_ENDINGS
from supervisor.table.contents import microseconds

_WORKER = Label("worker")
"""The slot; a worker that finishes its sessions counts with its successor."""

_DURATIONS = microseconds(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800)

_PROGRAM = (
    Metric(
        "popular_build_info",
        "What runs: program, version, and the versions of Python and OpenSSL. Always 1.",
        ExporterOwn("build", INFO),
        (Label("program"), Label("version"), Label("python"), Label("openssl")),
    ),
    Metric("popular_start_time_seconds", "When the program was started.", ExporterOwn("start"), unit="timestamp"),
    Metric(
        "popular_config_generation",
        "Number of the running configuration; grows with each change.",
        MasterGauge("generation"),
    ),
    Metric(
        "popular_config_changes_total",
        "Changes of the configuration that were put in force.",
        Counts("config_changes"),
    ),
    Metric(
        "popular_config_change_failures_total",
        "Changes of the configuration that were tried in the workers and taken back.",
        Counts("config_change_failures"),
    ),
    Metric(
        "popular_control_sentences_total",
        "Commands that the control language was asked to carry out.",
        Counts("control_sentences"),
    ),
    Metric("popular_control_refusals_total", "Commands that were refused.", Counts("control_refusals")),
    Metric(
        "popular_log_lines_lost_total",
        "Lines of the log that could not be written, such as on a full disk.",
        Counts("log_lines_lost"),
    ),
    Metric(
        "popular_audit_not_written",
        "Lines of the audit log (--auditlog) that are lost since the last one that could be written. It is tried "
        "again every ten seconds.",
        MasterGauge("audit_not_written"),
    ),
    Metric(
        "popular_draining",
        "1 while the program is shutting down and finishes its sessions, else 0.",
        MasterGauge("draining"),
    ),
)

_ORDERS = (
    Metric(
        "popular_orders",
        "What the operator has ordered beside the configuration, and is in force: blocks, drains, holds, locks, moves "
        "(`state list`).",
        MasterGauge("orders"),
    ),
    Metric(
        "popular_orders_not_kept",
        "Orders, and ends of orders, that are in force and could not be written to the state directory: the next start "
        "would not know of them. It is tried again twice a minute.",
        MasterGauge("orders_not_kept"),
    ),
    Metric(
        "popular_sessions_leaving",
        "Sessions that a drain, a kick, a lock or a move waits for, as of its last round (`kick list`).",
        MasterGauge("sessions_leaving"),
    ),
    Metric(
        "popular_moves_total",
        "Moves that were ordered, by what came of them: done, or undone (everything is as before).",
        Counts("moves"),
        (Label("result", ("done", "undone")),),
    ),
    Metric(
        "popular_move_longest_hold_seconds",
        "The longest time for which a move has held somebody since the program was started, from its first order until "
        "the end of the hold was in force in all workers.",
        MasterGauge("longest_move_hold_ms", 1000),
        unit="s",
    ),
)


def _orders_by_sort(program: Program) -> tuple[Metric, ...]:
    """How many orders there are by sort; of programs of which something can be ordered."""
    sorts = tuple(program.watched.orders)
    if not sorts:
        return ()
    return (
        Metric(
            "popular_orders_by_sort",
            "The same by what they do, traces among them.",
            OrdersInForce(),
            (Label("order", sorts),),
        ),
    )


_LOAD = (
    Metric("popular_load1", "Load average of the last minute, of the whole host.", MasterGauge("load_hundredths", 100)),
    Metric(
        "popular_load_limit", "Load at which nobody is accepted (maxlocalload); 0: no limit.", Setting("maxlocalload")
    ),
    Metric(
        "popular_pressure_ratio",
        "Part of the last 10 seconds in which some process of our control group waited for a processor.",
        MasterGauge("pressure_hundredths", 10_000),
        unit="ratio",
    ),
    Metric(
        "popular_pressure_limit_ratio",
        "Pressure at which nobody is accepted (maxpressure); 0: no limit.",
        Setting("maxpressure", 100),
        unit="ratio",
    ),
    Metric(
        "popular_load_state",
        "Load and pressure against their limits: 0 OK, 1 WARN, 2 MAX (nobody is accepted).",
        MasterGauge("load_state"),
    ),
)

_WORKERS = (
    Metric("popular_workers", "Worker processes, with those that only finish their sessions.", MasterGauge("workers")),
    Metric("popular_workers_configured", "Workers that there shall be (workers).", MasterGauge("workers_configured")),
    Metric(
        "popular_worker_restarts_total",
        "Workers that ended, by cause: exit (an error of ours), signal (killed from outside), hung (killed because its "
        "loop did not turn), asked (recycled, or no longer wanted).",
        Counts("worker_restarts"),
        (Label("cause", ("exit", "signal", "hung", "asked")),),
    ),
    Metric(
        "popular_event_loop_lag_seconds",
        "How late the event loop of a worker was at worst, in the last half minute.",
        OfProcess("lag_ns", scale=10**9, join="max"),
        (_WORKER,),
        unit="s",
    ),
    Metric(
        "popular_worker_heartbeat_age_seconds",
        "For how long the event loop of a worker has shown no life; it does so once a second.",
        OfProcess("heartbeat_ns", scale=10**9, join="max", age=True),
        (_WORKER,),
        unit="s",
    ),
    Metric("popular_worker_sessions", "Living sessions of a worker.", Living(), (_WORKER,)),
    Metric(
        "popular_worker_resident_memory_bytes",
        "Memory of a worker that is in use, pages that it shares with others included.",
        OfItself("resident_bytes"),
        (_WORKER,),
        unit="bytes",
    ),
    Metric("popular_worker_open_fds", "Open descriptors of a worker.", OfItself("open_fds"), (_WORKER,)),
    Metric(
        "popular_cpu_seconds_total",
        "Processor time of all processes of the program, those that have ended included.",
        ExporterOwn("processor", COUNTER, SYSTEM),
        unit="s",
    ),
)


def common_metrics(program: Program) -> tuple[Metric, ...]:
    """The metrics that every program has."""
    return (*_PROGRAM, *_ORDERS, *_orders_by_sort(program), *_LOAD, *_sessions(program), *_WORKERS, *_queues(program))


def metrics_of(program: Program) -> tuple[Metric, ...]:
    """All metrics of a program."""
    return (*common_metrics(program), *program.metrics)


def endings_of(program: Program) -> tuple[str, ...]:
    """All endings of a program's sessions."""
    return (*BASE_ENDINGS, *program.endings)


def _sessions(program: Program) -> tuple[Metric, ...]:
    server_kind = program.server_kind
    return (
        Metric(
            "popular_session_state",
            "Sessions against their limit: 0 OK, 1 WARN, 2 MAX (nobody is accepted).",
            MasterGauge("session_state"),
        ),
        Metric(
            "popular_session_limit",
            "The most sessions that there may be at once (maxsession).",
            MasterGauge("maxsession"),
        ),
        Metric(
            "popular_session_table_size",
            "The most that maxsession can be raised to (sessionlimit).",
            ExporterOwn("table_size"),
        ),
        Metric(
            "popular_sessions",
            "Living sessions, by virtual server and by what they are doing.",
            Living(),
            (server_kind, Label("state")),
        ),
        Metric(
            "popular_sessions_started_total",
            "Sessions accepted, by virtual server.",
            Counts("sessions_started"),
            (server_kind,),
        ),
        Metric(
            "popular_sessions_ended_total",
            "Sessions over, by ending.",
            Counts("sessions_ended"),
            (Label("ending", endings_of(program)),),
        ),
        Metric(
            "popular_accept_pauses_total",
            "Times that a worker stopped to accept, by reason: no session is free, load too high, out of descriptors.",
            Counts("accept_pauses"),
            (Label("reason", PAUSES),),
        ),
        Metric(
            "popular_clients_turned_away_total",
            "Clients that waited in a queue when the program ended (at once, or at a deadline): closed, no session.",
            Counts("turned_away"),
        ),
        Metric(
            "popular_session_duration_seconds",
            "How long sessions lasted, from accept to end.",
            Durations("session_duration", _DURATIONS),
            unit="s",
        ),
    )


def _queues(program: Program) -> tuple[Metric, ...]:
    """Metrics of the clients who are not accepted yet."""
    labels = (program.server_kind, Label("slot"))
    return (
        Metric(
            "popular_accept_queue_length",
            "Connections that wait to be accepted, by virtual server and slot.",
            Queued("length"),
            labels,
        ),
        Metric(
            "popular_accept_queue_limit",
            "The most connections that can wait there (backlog).",
            Queued("limit"),
            labels,
        ),
    )
