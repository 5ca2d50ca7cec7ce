"""A small table for the tests: three columns, four counters, two histograms, two gauges, three places of one sort."""

from supervisor.table.contents import BASE_COLUMNS, Column, Counter, Histogram, IndexRange
from supervisor.table.layout import Layout

STATES = ("free", "waiting", "working")
ENDINGS = ("quit", "worker_died")


def layout(rows: int = 4, blocks: int = 3) -> Layout:
    """Its geometry."""
    return Layout(
        b"SAMPLE\0\0",
        (*BASE_COLUMNS, Column("sid", "16s", "id"), Column("octets", "Q", "moved"), Column("port", "H", "port")),
        (
            Counter("begun", "Begun."),
            Counter("ended", "Ended, by ending.", ENDINGS),
            Counter("calls", "Calls, by shop.", by="shop"),
            Counter("faults", "Faults, by shop and kind.", ("late", "wrong"), by="shop"),
        ),
        gauges=("limit", "load"),
        states=STATES,
        endings=ENDINGS,
        block_count=blocks,
        row_count=rows,
        histograms=(
            Histogram("wait", "Waits.", (1000, 1_000_000)),
            Histogram("work", "Work, by shop.", (1000, 2000), by="shop"),
        ),
        indexes=(IndexRange("shop", 3),),
    )
