"""Whether what an expression names exists in the table of metrics: for the tests of dashboards and rules."""

from deploy.all_metrics import METRICS
from supervisor.metric import COUNTER, GAUGE, HISTOGRAM, INFO, Metric
from tests.deploy.promql import Selection

TARGET = {"job", "instance"}
"""What Prometheus adds to everything that it scrapes."""
FOREIGN = {"up"}
"""What Prometheus makes by itself."""
COUNTING = {"rate", "increase"}

SERIES: dict[str, Metric] = {
    f"{family.name}{end}": family
    for family in METRICS
    for end in (("_bucket", "_sum", "_count") if family.kind == HISTOGRAM else ("",))
}
"""Each name that is scraped, and its family."""


def fault(selection: Selection) -> str | None:
    """What is wrong with it; None if nothing is."""
    if selection.metric in FOREIGN:
        return None
    family = SERIES.get(selection.metric)
    if family is None:
        return f"{selection.metric} does not exist"
    labels = {*TARGET, *family.labels} | ({"le"} if selection.metric.endswith("_bucket") else set())
    unknown = selection.matchers.keys() - labels
    if unknown or selection.labels - labels:
        return f"{selection.metric} has no label {sorted(unknown | (selection.labels - labels))}"
    counts = family.kind in (COUNTER, HISTOGRAM)
    if counts != bool(selection.inside and selection.inside[-1] in COUNTING) or counts != bool(selection.span):
        return f"{selection.metric} is a {family.kind}, in {selection.inside} over {selection.span!r}"
    assert family.kind in (COUNTER, GAUGE, HISTOGRAM, INFO)
    return None
