"""A metric: one row that says all there is to say of it. The session table, the exporter, popular-metrics(7), the
dashboards and the tests read the rows; nothing about a metric stands anywhere else.

    Metric("popular_answers_total", "Answers that were right.", Counts("answers"), (SERVERS,))

A row tells name, help, source, labels and unit. The source says where the number comes from, and with it the kind.
Names and units follow https://prometheus.io/docs/practices/naming/. No label ever holds a user's name or an address. A
counter or histogram that is kept for configured things exists, at 0, from the moment at which a thing is configured.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from supervisor.table.contents import Counter, Histogram

PREFIX = "popular_"

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"
INFO = "info"

TABLE = "shared table"
"""Counted by the processes in their blocks of the session table."""
ROWS = "session rows"
MASTER = "master"
"""Told by the master: the configuration, and what it alone sees."""
SYSTEM = "system"
"""What each process finds out about itself."""


class Label(NamedTuple):
    """A label whose values are known beforehand, or come with the number."""

    name: str
    values: tuple[str, ...] = ()


class Things(NamedTuple):
    """A sort of configured things as watchers know it. As a label, its values are their ids."""

    sort: str
    name: str
    """The label's name."""
    facts: str
    """Where `Program.describe` lists them."""
    column: str = ""
    """Which column of a session's row holds the id; "" if there is only one thing, or none belongs to a session."""
    key: str = "id"
    """Which fact is the id."""


@dataclass(frozen=True)
class MetricSource:
    """Where a number comes from."""

    kind: ClassVar[str] = GAUGE
    origin: ClassVar[str] = TABLE


@dataclass(frozen=True)
class Counts(MetricSource):
    """A counter that the processes keep in their blocks, under this name."""

    cell_name: str
    kind: ClassVar[str] = COUNTER


@dataclass(frozen=True)
class CountOf(Counts):
    """A counter of what a histogram times: its `observer` counts each event there too."""

    histogram: str


@dataclass(frozen=True)
class UpDownCounter(MetricSource):
    """How many there are now: a number of theirs that also falls, and whose part of a dead process is taken off."""

    cell_name: str


@dataclass(frozen=True)
class Durations(MetricSource):
    """A histogram that they keep there. `bounds` are in microseconds."""

    cell_name: str
    bounds: tuple[int, ...]
    kind: ClassVar[str] = HISTOGRAM


@dataclass(frozen=True)
class SomeLabels(MetricSource):
    """Some values of another counter's label, under names of their own: value → name."""

    cell_name: str
    names: Mapping[str, str] = field(hash=False)
    kind: ClassVar[str] = COUNTER


@dataclass(frozen=True)
class MasterGauge(MetricSource):
    """A number that the master shows in its block, divided by `scale`."""

    cell_name: str
    scale: int = 1


@dataclass(frozen=True)
class OfProcess(MetricSource):
    """A number that each worker shows in its block, divided by `scale`; by slot.

    A worker that finishes its sessions and its successor have the same slot: `join` puts the two together.
    """

    cell_name: str
    scale: int = 1
    join: str = "sum"
    """What is shown of two processes of one slot: the sum, or ("max") the larger number."""
    age: bool = False
    """The cell holds a moment of the monotonic clock; the metric is how long ago that was."""


@dataclass(frozen=True)
class OfItself(OfProcess):
    """A number that each worker shows in its block, and that it had to ask the system for."""

    origin: ClassVar[str] = SYSTEM


@dataclass(frozen=True)
class Living(MetricSource):
    """How many sessions live, by the metric's labels: a thing's id, the state, or the slot of the worker."""

    origin: ClassVar[str] = ROWS


@dataclass(frozen=True)
class Described(MetricSource):
    """A fact about each thing of the metric's one label; with `equals`, whether it is that."""

    fact: str
    equals: str = ""
    origin: ClassVar[str] = MASTER


@dataclass(frozen=True)
class OfHealth(MetricSource):
    """What the master keeps of each thing of the metric's one label (`Health` in supervisor.table.contents): "ratio",
    the part of the last minute's attempts that failed; "age", for how many seconds failures have been going on;
    "down", for how many it has been down; "recovering", whether it recovers; or "users", how many users its failures
    were about.
    """

    what: str
    origin: ClassVar[str] = MASTER


@dataclass(frozen=True)
class OfRecord(MetricSource):
    """A column of the record that is kept of each thing of the metric's one label; 0 when its time, in the column
    `until`, is over, or it is of a thing that had this place before (`ident`).
    """

    record: str
    column: str


@dataclass(frozen=True)
class StandingSeconds(MetricSource):
    """For how many seconds something has been so of each thing of the metric's one label: by a column of the record in
    which the master says what the operator has made of it, which holds a moment; 0: it is not.
    """

    record: str
    column: str
    origin: ClassVar[str] = MASTER


@dataclass(frozen=True)
class OrdersInForce(MetricSource):
    """How many orders of the operator's are in force, by the metric's one label, whose values are their sorts."""

    origin: ClassVar[str] = MASTER


@dataclass(frozen=True)
class Setting(MetricSource):
    """A variable of the configuration, divided by `scale`."""

    variable: str
    scale: int = 1
    origin: ClassVar[str] = MASTER


@dataclass(frozen=True)
class Queued(MetricSource):
    """A field of `supervisor.exporterline.Queue`, by listener and slot."""

    field: str
    origin: ClassVar[str] = MASTER


@dataclass(frozen=True)
class ExporterOwn(MetricSource):
    """What the exporter knows by itself, by the name of the function in metrics/collector.py."""

    name: str
    of_kind: str = GAUGE
    of_origin: str = MASTER


class Metric(NamedTuple):
    """One row. `unit` is "s", "bytes", "ratio", "timestamp" or "" (a plain number)."""

    name: str
    """As it is scraped, with prefix and suffix; of a histogram without `_bucket`, `_sum` and `_count`."""
    help: str
    source: MetricSource
    label_rows: tuple[Label | Things, ...] = ()
    unit: str = ""

    @property
    def kind(self) -> str:
        return self.source.of_kind if isinstance(self.source, ExporterOwn) else self.source.kind

    @property
    def origin(self) -> str:
        return self.source.of_origin if isinstance(self.source, ExporterOwn) else self.source.origin

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(label.name for label in self.label_rows)

    @property
    def things(self) -> Things | None:
        """The sort by which it is kept."""
        return next((label for label in self.label_rows if isinstance(label, Things)), None)

    @property
    def values(self) -> tuple[str, ...]:
        """The values of the label that is told apart by them."""
        return next((label.values for label in self.label_rows if isinstance(label, Label)), ())


def counters(metrics: Iterable[Metric]) -> tuple[Counter, ...]:
    """The counters of the session table."""
    return tuple(
        Counter(
            metric.source.cell_name,
            metric.help,
            metric.values,
            by=metric.things.sort if metric.things else "",
            falls=isinstance(metric.source, UpDownCounter),
        )
        for metric in metrics
        if isinstance(metric.source, Counts | UpDownCounter)
    )


def histograms(metrics: Iterable[Metric]) -> tuple[Histogram, ...]:
    """The histograms of the session table."""
    return tuple(
        Histogram(
            metric.source.cell_name, metric.help, metric.source.bounds, by=metric.things.sort if metric.things else ""
        )
        for metric in metrics
        if isinstance(metric.source, Durations)
    )


def event_counters(metrics: Iterable[Metric]) -> dict[str, str]:
    """Which counter counts the events of a histogram, where one does."""
    return {
        metric.source.histogram: metric.source.cell_name for metric in metrics if isinstance(metric.source, CountOf)
    }


def ends(metrics: Iterable[Metric]) -> tuple[tuple[Things, str], ...]:
    """The sorts of things that have an end, and which of their facts it is."""
    return tuple(
        (metric.things, metric.source.fact)
        for metric in metrics
        if metric.unit == "timestamp" and isinstance(metric.source, Described) and metric.things is not None
    )


def gauges(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """The numbers that rise and fall in the master's block."""
    return tuple(metric.source.cell_name for metric in metrics if isinstance(metric.source, MasterGauge))
