"""Makes the metrics afresh at each scrape: the program's rows (supervisor/metric.py), with numbers from the session
table and from what the master told.

For each kind of source there is one function. Nothing is kept from one scrape to the next but the processor time,
which must not fall.
"""

import itertools
import platform
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any

from prometheus_client import Metric as Family
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Sample

from metrics.http import HttpRequest, HttpResponse
from metrics.programseen import ProgramSeen
from metrics.trouble import is_down, share
from supervisor.exporterline import Queue
from supervisor.metric import (
    COUNTER,
    INFO,
    Counts,
    Described,
    Durations,
    ExporterOwn,
    Living,
    MasterGauge,
    Metric,
    OfHealth,
    OfProcess,
    OfRecord,
    OrdersInForce,
    Queued,
    Setting,
    SomeLabels,
    StandingSeconds,
    Things,
    UpDownCounter,
)
from supervisor.table.contents import RECOVERING
from supervisor.table.segment import HealthReading, Reading

Value = tuple[tuple[str, ...], float]
"""The values of a metric's labels, in order, and the number."""

_OPEN_METRICS = "application/openmetrics-text"


def scrape(program: ProgramSeen, request: HttpRequest) -> HttpResponse:
    """The answer to one scrape: what `Collector.collect` gives, encoded."""
    # What else stands in the field is a client's, and the library takes it at its word.
    open_metrics = _OPEN_METRICS in request.fields.get("accept", "")
    encode, content_type = choose_encoder(_OPEN_METRICS if open_metrics else "")
    return HttpResponse(HTTPStatus.OK, content_type, encode(Collector(program)))


class ScrapeMoment:
    """One look at everything. What several metrics need is looked up once."""

    def __init__(self, program: ProgramSeen) -> None:
        self.program = program
        self.now = time.time()
        self.now_ns = time.monotonic_ns()
        self.columns = _columns(program)

    @cached_property
    def readings(self) -> dict[str, list[Reading]]:
        return self.program.view.readings()

    @cached_property
    def gauges(self) -> dict[str, int]:
        return self.program.view.gauges()

    @cached_property
    def healths(self) -> dict[str, list[HealthReading]]:
        return self.program.view.healths()

    @cached_property
    def workers(self) -> list[dict[str, int]]:
        return self.program.view.workers()

    @cached_property
    def sessions(self) -> list[tuple[dict[str, Any], int]]:
        """How many living sessions there are of each kind; a kind tells the columns that some metric asks for."""
        tally = self.program.view.tally(self.columns)
        return [(dict(zip(self.columns, values, strict=True)), count) for values, count in tally.items()]

    def things(self, things: Things) -> Sequence[dict[str, Any]]:
        """The facts about each thing of a sort."""
        described: Sequence[dict[str, Any]] = self.program.facts.get(things.facts, ())
        return described

    def ids(self, things: Things) -> list[str]:
        return [one[things.key] for one in self.things(things)]

    @property
    def queues(self) -> tuple[Queue, ...]:
        return self.program.pulse.queues if self.program.pulse is not None else ()


def _columns(program: ProgramSeen) -> list[str]:
    """Columns of the table by which living sessions are counted."""
    wanted = {row.things.column for row in program.metrics if isinstance(row.source, Living) and row.things is not None}
    return ["state", "pid", *sorted(wanted & {column.name for column in program.view.layout.columns})]


class Collector:
    """What `generate_latest` asks for the metrics."""

    def __init__(self, program: ProgramSeen) -> None:
        self._program = program

    def collect(self) -> Iterator[Family]:
        """All metrics that the program has, in the order of its rows."""
        moment = ScrapeMoment(self._program)
        for row in self._program.metrics:
            if isinstance(row.source, Durations):
                yield _histogram(row, row.source, moment)
            else:
                yield _simple(row, moment)


def _simple(row: Metric, moment: ScrapeMoment) -> Family:
    # The library wants the name without the suffix of its kind, and puts it there again.
    suffix = {COUNTER: "_total", INFO: "_info"}.get(row.kind, "")
    family = Family(row.name.removesuffix(suffix), row.help, row.kind)
    labels = row.labels
    family.samples = [
        Sample(row.name, dict(zip(labels, values, strict=True)), number) for values, number in _values(row, moment)
    ]
    return family


def _histogram(row: Metric, source: Durations, moment: ScrapeMoment) -> Family:
    family = HistogramMetricFamily(row.name, row.help, labels=row.labels)
    ends = [*(str(bound / 1e6) for bound in source.bounds), "+Inf"]
    for ident, numbers in moment.readings[source.cell_name]:
        buckets = list(zip(ends, itertools.accumulate(numbers[:-1]), strict=True))
        family.add_metric([ident] if row.things else [], buckets, numbers[-1] / 1e6)
    return family


def _values(row: Metric, moment: ScrapeMoment) -> Iterable[Value]:
    match row.source:
        case Counts(cell) | UpDownCounter(cell):
            return _counted(row, moment.readings[cell])
        case SomeLabels(cell, names):
            return _some(cell, names, moment)
        case MasterGauge(cell, scale):
            return [((), moment.gauges[cell] / scale)]
        case OfProcess():
            return _of_processes(row.source, moment)
        case Living():
            return _living(row, moment)
        case Described(fact, equals):
            return _described(row, fact, equals, moment=moment)
        case OfHealth(what):
            return _of_health(row, what, moment)
        case OfRecord(record, column):
            return _of_record(row, record, column, moment=moment)
        case StandingSeconds(record, column):
            return _standing_seconds(row, record, column, moment=moment)
        case OrdersInForce():
            pulse = moment.program.pulse
            there = {one.sort: one.number for one in pulse.orders} if pulse is not None else {}
            return [((sort,), there.get(sort, 0)) for sort in row.values]
        case Setting(variable, scale):
            return [((), moment.program.facts.get("variables", {}).get(variable, 0) / scale)]
        case Queued(field):
            return [((queue.listener, str(queue.slot)), getattr(queue, field)) for queue in moment.queues]
        case ExporterOwn(name):
            return _OWN[name](moment)
    raise AssertionError(f"{row.name}: a source that nobody reads")


def _counted(row: Metric, readings: Iterable[Reading]) -> Iterator[Value]:
    for ident, numbers in readings:
        own = (ident,) if row.things else ()
        for value, number in itertools.zip_longest(row.values, numbers):
            yield (*own, value) if row.values else own, number


def _some(cell: str, names: Mapping[str, str], moment: ScrapeMoment) -> Iterator[Value]:
    (whole,) = (counter for counter in moment.program.view.layout.counters if counter.name == cell)
    numbers = dict(zip(whole.labels, moment.readings[cell][0].numbers, strict=True))
    return (((name,), numbers[value]) for value, name in names.items())


def _described(row: Metric, fact: str, equals: str, *, moment: ScrapeMoment) -> Iterator[Value]:
    things = row.things
    assert things is not None, row.name
    for one in moment.things(things):
        yield (one[things.key],), float(one[fact] == equals) if equals else one[fact]


def _standing_seconds(row: Metric, record: str, column: str, *, moment: ScrapeMoment) -> Iterator[Value]:
    things = row.things
    assert things is not None, row.name
    found = moment.program.view.records(record)
    for ident in moment.ids(things):
        told = found.get(ident, {})
        began = told[column] if told.get("ident") == ident else 0.0
        yield (ident,), max(0.001, moment.now - began) if began else 0.0


def _of_health(row: Metric, what: str, moment: ScrapeMoment) -> Iterator[Value]:
    things = row.things
    assert things is not None, row.name
    for one in moment.healths[things.sort]:
        yield (one.ident,), _HEALTH[what](one, moment.now)


def _of_record(row: Metric, record: str, column: str, *, moment: ScrapeMoment) -> Iterator[Value]:
    things = row.things
    assert things is not None, row.name
    found = moment.program.view.records(record)
    for ident in moment.ids(things):
        one = found.get(ident)
        counts = one is not None and one["ident"] == ident and one["until"] >= moment.now
        yield (ident,), float(one[column]) if one is not None and counts else 0.0


_HEALTH: dict[str, Callable[[HealthReading, float], float]] = {
    "ratio": lambda one, _now: share(one),
    "age": lambda one, now: max(0.0, now - one.since) if one.since else 0.0,
    "down": lambda one, now: max(0.001, now - one.turned) if is_down(one) else 0.0,
    "recovering": lambda one, _now: float(one.condition == RECOVERING),
    "users": lambda one, _now: float(one.users),
}
"""By the word in `OfHealth`."""

# --- living sessions --------------------------------------------------------------------------------------------------


def _living(row: Metric, moment: ScrapeMoment) -> Iterable[Value]:
    """By thing, or by thing and state: each combination, also where there is none; or by worker."""
    things = row.things
    if things is None:
        counts = Counter[int]()
        for kind, count in moment.sessions:
            counts[kind["pid"]] += count
        return _by_slot(((worker["slot"], counts[worker["pid"]]) for worker in moment.workers), sum)
    ids = moment.ids(things)
    states = [()] if len(row.labels) == 1 else [(state,) for state in moment.program.view.layout.states[1:]]
    found: Counter[tuple[str, ...]] = Counter(dict.fromkeys(((one, *state) for one in ids for state in states), 0))
    for kind, count in moment.sessions:
        # Sessions without the column of this sort belong to the only thing that there is.
        ident = kind[things.column] if things.column else next(iter(ids), "")
        if ident or not things.column:
            found[(ident, kind["state"])[: len(row.labels)]] += count
    return found.items()


# --- what the processes show of themselves ----------------------------------------------------------------------------

_JOIN: dict[str, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max}


def _of_processes(source: OfProcess, moment: ScrapeMoment) -> list[Value]:
    shown = (
        (worker["slot"], worker[source.cell_name])
        for worker in moment.workers
        if worker[source.cell_name] or not source.age
    )
    numbers = ((slot, max(0, moment.now_ns - number) if source.age else number) for slot, number in shown)
    return _by_slot(((slot, number / source.scale) for slot, number in numbers), _JOIN[source.join])


def _by_slot(numbers: Iterable[tuple[int, float]], join: Callable[[Iterable[float]], float]) -> list[Value]:
    """By slot. A worker that finishes its sessions and its successor have the same one."""
    slots: dict[int, list[float]] = {}
    for slot, number in numbers:
        slots.setdefault(slot, []).append(number)
    return [((str(slot),), join(slots[slot])) for slot in sorted(slots)]


# --- what the exporter itself knows -----------------------------------------------------------------------------------


def _build(moment: ScrapeMoment) -> Iterator[Value]:
    openssl = ssl.OPENSSL_VERSION.removeprefix("OpenSSL ").partition(" ")[0]
    yield (moment.program.name, moment.program.version, platform.python_version(), openssl), 1


_OWN: dict[str, Callable[[ScrapeMoment], Iterable[Value]]] = {
    "build": _build,
    "start": lambda moment: [((), moment.program.view.header.boot_time)],
    "table_size": lambda moment: [((), moment.program.view.layout.row_count)],
    "processor": lambda moment: [((), moment.program.processor.seconds(moment.program.view))],
}
"""By the name in `ExporterOwn`."""
