"""Makes the metrics afresh at each scrape: the rows of families.py, with numbers from the table and the master.

Counters and histograms stand in the table under the stem of their name; for everything else there is a function in
`_OTHERS`. Nothing is kept from one scrape to the next but the processor time, which must not fall.
"""

import itertools
import os
import platform
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from prometheus_client import Metric
from prometheus_client.samples import Sample

from metrics import processes
from metrics.families import COUNTER, INFO, PREFIX, Family, families_of
from metrics.known import Known
from supervisor.exporter import Queue
from supervisor.table.layout import Counter as CounterRow
from supervisor.table.layout import Histogram as HistogramRow
from supervisor.table.segment import Reading

Value = tuple[tuple[str, ...], float]
"""The values of a family's labels, in order, and the number."""

REFUSALS = {"vserv_disabled": "vserv_disabled", "proxy_header": "proxy_header", "tls_failed": "tls"}
"""Endings by which a session is turned away before a login was possible, and what the reason is called."""


class Moment:
    """One look at everything. What several families need is looked up once."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.now_ns = time.monotonic_ns()
        self.now = time.time()

    @cached_property
    def readings(self) -> dict[str, list[Reading]]:
        return self.known.view.readings()

    @cached_property
    def gauges(self) -> dict[str, int]:
        return self.known.view.gauges()

    @cached_property
    def workers(self) -> list[dict[str, int]]:
        return self.known.view.workers()

    @cached_property
    def sessions(self) -> list[tuple[dict[str, Any], int]]:
        """How many living sessions there are of each kind: a kind tells state, pid, and vserv and backend if known."""
        columns = {column.name for column in self.known.view.layout.columns}
        names = [name for name in ("state", "pid", "vserv", "backend") if name in columns]
        tally = self.known.view.tally(names)
        return [(dict(zip(names, values, strict=True)), count) for values, count in tally.items()]

    def described(self, kind: str) -> Sequence[dict[str, Any]]:
        """The facts of one kind: vservs, backends, certificates."""
        things: Sequence[dict[str, Any]] = self.known.facts.get(kind, ())
        return things

    def variable(self, name: str) -> int:
        return int(self.known.facts.get("variables", {}).get(name, 0))

    @property
    def queues(self) -> tuple[Queue, ...]:
        return self.known.pulse.queues if self.known.pulse is not None else ()


class Collector:
    """What `generate_latest` asks for the metrics."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._families = families_of(known.program)
        layout = known.view.layout
        self._rows = {row.name: row for row in layout.counted}

    def collect(self) -> Iterator[Metric]:
        """All families that the program has, in the order of the table."""
        moment = Moment(self._known)
        for family in self._families:
            row = self._rows.get(family.stem)
            if family.name in _OTHERS:
                yield _metric(family, _simple_samples(family, _OTHERS[family.name](moment)))
            elif isinstance(row, HistogramRow):
                yield _metric(family, _histogram_samples(family, row, moment.readings[row.name]))
            elif isinstance(row, CounterRow):
                yield _metric(family, _simple_samples(family, _counted(row, moment.readings[row.name])))


def _metric(family: Family, samples: Iterable[Sample]) -> Metric:
    # The library wants the name without the suffix of its kind, and puts it there again.
    suffix = {COUNTER: "_total", INFO: "_info"}.get(family.kind, "")
    metric = Metric(family.name.removesuffix(suffix), family.help, family.kind)
    metric.samples = list(samples)
    return metric


def _simple_samples(family: Family, values: Iterable[Value]) -> Iterator[Sample]:
    for labels, number in values:
        yield Sample(family.name, dict(zip(family.labels, labels, strict=True)), number)


def _counted(row: CounterRow, readings: Iterable[Reading]) -> Iterator[Value]:
    for ident, numbers in readings:
        own = (ident,) if row.by else ()
        for label, number in itertools.zip_longest(row.labels, numbers):
            yield (*own, label) if row.labels else own, number


def _histogram_samples(family: Family, row: HistogramRow, readings: Iterable[Reading]) -> Iterator[Sample]:
    ends = [*(str(bound / 1e6) for bound in row.bounds), "+Inf"]
    bucket, total, count = f"{family.name}_bucket", f"{family.name}_sum", f"{family.name}_count"
    for ident, numbers in readings:
        labels = {family.labels[0]: ident} if row.by else {}
        sums = list(itertools.accumulate(numbers[:-1]))
        for end, below in zip(ends, sums, strict=True):
            yield Sample(bucket, {**labels, "le": end}, below)
        yield Sample(total, labels, numbers[-1] / 1e6)
        yield Sample(count, labels, sums[-1])


# --- what is no counter of the table ----------------------------------------------------------------------------------


def _build(moment: Moment) -> Iterator[Value]:
    openssl = ssl.OPENSSL_VERSION.removeprefix("OpenSSL ").partition(" ")[0]
    yield (moment.known.program, moment.known.version, platform.python_version(), openssl), 1


def _gauge(name: str, scale: float = 1.0) -> "Source":
    return lambda moment: [((), moment.gauges[name] / scale)]


def _sessions(moment: Moment) -> Iterator[Value]:
    """Every state of every virtual server, also where there is none."""
    fronts = [vserv["id"] for vserv in moment.described("vservs")]
    states = moment.known.view.layout.states[1:]
    counts = Counter(dict.fromkeys(itertools.product(fronts, states), 0))
    for kind, count in moment.sessions:
        counts[kind.get("vserv", fronts[0] if fronts else ""), kind["state"]] += count
    yield from counts.items()


def _refused(moment: Moment) -> Iterator[Value]:
    endings = dict(zip(moment.known.view.layout.endings, moment.readings["sessions_ended"][0].numbers, strict=True))
    return (((reason,), endings[ending]) for ending, reason in REFUSALS.items() if ending in endings)


def _backend_up(moment: Moment) -> Iterator[Value]:
    return (((backend["id"],), float(backend["state"] == "online")) for backend in moment.described("backends"))


def _backend_sessions(moment: Moment) -> Iterator[Value]:
    counts = Counter({backend["id"]: 0 for backend in moment.described("backends")})
    for kind, count in moment.sessions:
        if kind["backend"]:
            counts[kind["backend"]] += count
    return (((ident,), count) for ident, count in counts.items())


def _certificates(moment: Moment) -> Iterator[Value]:
    return (((one["name"],), one["not_after"]) for one in moment.described("certificates"))


def _of_slots(numbers: Iterable[tuple[int, float]], join: Callable[[float, float], float]) -> list[Value]:
    """By slot. A worker that finishes its sessions and its successor have the same one."""
    joined: dict[int, float] = {}
    for slot, number in numbers:
        joined[slot] = join(joined[slot], number) if slot in joined else number
    return [((str(slot),), joined[slot]) for slot in sorted(joined)]


def _worker_sessions(moment: Moment) -> list[Value]:
    counts: Counter[int] = Counter()
    for kind, count in moment.sessions:
        counts[kind["pid"]] += count
    numbers = ((worker["slot"], counts[worker["pid"]]) for worker in moment.workers)
    return _of_slots(numbers, lambda one, other: one + other)


def _lag(moment: Moment) -> list[Value]:
    return _of_slots(((worker["slot"], worker["lag_ns"] / 1e9) for worker in moment.workers), max)


def _heartbeat_age(moment: Moment) -> list[Value]:
    ages = (
        (worker["slot"], max(0, moment.now_ns - worker["heartbeat_ns"]) / 1e9)
        for worker in moment.workers
        if worker["heartbeat_ns"]
    )
    return _of_slots(ages, max)


def _of_processes(read: Callable[[int], int | None]) -> "Source":
    def values(moment: Moment) -> list[Value]:
        found = ((worker["slot"], read(worker["pid"])) for worker in moment.workers)
        numbers = ((slot, number) for slot, number in found if number is not None)
        return _of_slots(numbers, lambda one, other: one + other)

    return values


def _processor(moment: Moment) -> Iterator[Value]:
    children = [worker["pid"] for worker in moment.workers] + [os.getpid()]
    yield (), moment.known.processor.seconds(moment.known.master, children)


def _queues(number: Callable[[Queue], int]) -> "Source":
    return lambda moment: [((queue.listener, str(queue.slot)), number(queue)) for queue in moment.queues]


Source = Callable[[Moment], Iterable[Value]]

_OTHERS: dict[str, Source] = {
    f"{PREFIX}build_info": _build,
    f"{PREFIX}start_time_seconds": lambda moment: [((), moment.known.view.header.boot_time)],
    f"{PREFIX}config_generation": _gauge("generation"),
    f"{PREFIX}draining": _gauge("draining"),
    f"{PREFIX}load1": _gauge("load_hundredths", 100),
    f"{PREFIX}load_limit": lambda moment: [((), moment.variable("maxlocalload"))],
    f"{PREFIX}pressure_ratio": _gauge("pressure_hundredths", 10_000),
    f"{PREFIX}pressure_limit_ratio": lambda moment: [((), moment.variable("maxpressure") / 100)],
    f"{PREFIX}load_state": _gauge("load_state"),
    f"{PREFIX}session_state": _gauge("session_state"),
    f"{PREFIX}session_limit": _gauge("maxsession"),
    f"{PREFIX}session_table_size": lambda moment: [((), moment.known.view.layout.row_count)],
    f"{PREFIX}sessions": _sessions,
    f"{PREFIX}sessions_refused_total": _refused,
    f"{PREFIX}backend_up": _backend_up,
    f"{PREFIX}backend_sessions": _backend_sessions,
    f"{PREFIX}tls_certificate_not_after_timestamp_seconds": _certificates,
    f"{PREFIX}workers": _gauge("workers"),
    f"{PREFIX}workers_configured": _gauge("workers_configured"),
    f"{PREFIX}worker_sessions": _worker_sessions,
    f"{PREFIX}event_loop_lag_seconds": _lag,
    f"{PREFIX}worker_heartbeat_age_seconds": _heartbeat_age,
    f"{PREFIX}worker_resident_memory_bytes": _of_processes(processes.resident_bytes),
    f"{PREFIX}worker_open_fds": _of_processes(processes.open_fds),
    f"{PREFIX}cpu_seconds_total": _processor,
    f"{PREFIX}accept_queue_length": _queues(lambda queue: queue.length),
    f"{PREFIX}accept_queue_limit": _queues(lambda queue: queue.limit),
}
"""Where the numbers of the other families come from."""
