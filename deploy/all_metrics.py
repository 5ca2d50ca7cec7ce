"""The metrics of all programs, for what is made of them: the manual page, the dashboards, the tests."""

from popular.proxy.program import PROGRAM as PPROXY
from popular.store.pserv.program import PROGRAM as PSERV
from supervisor.common_metrics import metrics_of
from supervisor.metric import Metric

PROGRAMS = (PPROXY, PSERV)

METRICS: tuple[Metric, ...] = tuple(
    {metric.name: metric for program in PROGRAMS for metric in metrics_of(program)}.values()
)
"""Each once. Where two programs have one, all but its labels' values are the same."""


def programs_of(metric: Metric) -> tuple[str, ...]:
    """The names of the programs that have it."""
    return tuple(program.name for program in PROGRAMS if metric.name in {row.name for row in metrics_of(program)})
