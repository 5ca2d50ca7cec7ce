"""How long things take, from the buckets of a histogram; and what has failed of late."""

from metrics.failures import MOST_KEPT, LastFailures
from metrics.latency import STEP_SECONDS, STEPS, Latency, RecentDurations, latency_of
from supervisor.table.contents import Counter, Health
from supervisor.table.layout import Layout
from supervisor.table.segment import Reading

BOUNDS = (1_000, 10_000, 100_000)
NOW = 1.8e9


def test_quantiles_are_read_between_the_bounds() -> None:
    """As Prometheus does; what is beyond the last bound counts as that; of nothing there is nothing."""
    assert latency_of(BOUNDS, (100, 0, 0, 0, 50_000)) == Latency(100, 0.0005, 0.0005, 0.00099)
    found = latency_of(BOUNDS, (0, 50, 40, 10, 9_000_000))
    assert found == Latency(100, 0.09, 0.01, 0.1)
    assert latency_of(BOUNDS, (0, 0, 0, 0, 0)) is None
    assert latency_of(BOUNDS, (0,)) is None


def test_the_last_minute_only() -> None:
    """What is older is taken off; one that was given to another thing begins anew."""
    recent = RecentDurations()
    for step in range(STEPS + 5):
        recent.add(step * STEP_SECONDS, {"b": (step, 0, step * 10)})
        recent.add(step * STEP_SECONDS + 1, {"b": (step + 1, 0, step * 10 + 10)})
    assert list(recent.of("b")) == [STEPS, 0, 10 * STEPS]
    assert list(recent.of("unknown")) == []
    recent.add(1e6, {"b": (STEPS + 6, 0, 0), "new": (2, 0, 9)})
    assert list(recent.of("new")) == [2, 0, 9], "one that is new began a moment ago, whenever that was seen"
    recent.add(1e9, {"b": (1, 0, 7)})
    assert list(recent.of("b")) == [1, 0, 7], "numbers that fall are those of another one"


LAYOUT = Layout(
    b"SAMPLE\0\0",
    (),
    (Counter("calls", "", by="shop"), Counter("faults", "", ("late", "wrong"), by="shop")),
    gauges=(),
    states=("free",),
    endings=(),
    block_count=1,
    row_count=1,
    healths=(Health("shop", "calls", "faults"),),
)


def test_last_failures_are_few_and_told_by_reason() -> None:
    """What goes on is one entry; after a pause of a minute it is another one. The oldest goes, and who is gone."""
    last = LastFailures(LAYOUT)
    last.look({"faults": [Reading("a", (5, 0)), Reading("b", (0, 0))]}, NOW)
    assert last.of("shop", "a") == [], "what was before anybody looked is not known"
    last.look({"faults": [Reading("a", (7, 0)), Reading("b", (0, 0))]}, NOW + 1)
    last.look({"faults": [Reading("a", (8, 1)), Reading("b", (0, 0))]}, NOW + 2)
    assert [tuple(one) for one in last.of("shop", "a")] == [
        ("late", NOW + 1, NOW + 2, 3),
        ("wrong", NOW + 2, NOW + 2, 1),
    ]
    assert last.of("shop", "b") == []
    for number in range(50):
        last.look({"faults": [Reading("a", (8, 2 + number))]}, NOW + 100 * (number + 1))
    found = last.of("shop", "a")
    assert len(found) == MOST_KEPT
    assert found[0] == ("wrong", NOW + 5000, NOW + 5000, 1)
    last.look({"faults": [Reading("b", (1, 0))]}, NOW + 6000)
    assert last.of("shop", "a") == []
