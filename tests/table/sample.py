"""A small table for the tests: three columns, two counters, two gauges."""

from supervisor.table.layout import BASE_COLUMNS, Column, Counter, Layout

STATES = ("free", "waiting", "working")
ENDINGS = ("quit", "worker_died")


def layout(rows: int = 4, blocks: int = 3) -> Layout:
    """Its geometry."""
    return Layout(
        b"SAMPLE\0\0",
        (*BASE_COLUMNS, Column("sid", "16s", "id"), Column("octets", "Q", "moved"), Column("port", "H", "port")),
        (Counter("begun", "Begun."), Counter("ended", "Ended, by ending.", ENDINGS)),
        ("limit", "load"),
        STATES,
        ENDINGS,
        blocks,
        rows,
    )
