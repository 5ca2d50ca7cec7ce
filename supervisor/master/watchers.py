"""What those who watch are told: the gauges in the table, the exporter, and the service manager.

After each change they are told of the config, and each second of what only the master sees. Nobody of them can hold the
master up, and none of them changes anything.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from supervisor import metric
from supervisor.common_metrics import metrics_of
from supervisor.config import Config
from supervisor.exporterline import ExporterInheritance, OrdersTold, Pulse
from supervisor.master.accounting import Accounting
from supervisor.master.exporter import Exporter
from supervisor.master.health import HealthWatch
from supervisor.master.helperprocess import HelperProcess
from supervisor.master.listeners import Listeners
from supervisor.master.pool import Pool
from supervisor.master.shutdown import PATIENCE_SECONDS, ShutdownSequence
from supervisor.master.standing import AGAIN_SECONDS, StandingBoard
from supervisor.operatorstate import LATEST, OperatorState, OrderEntry
from supervisor.program import Program
from supervisor.runtime import messages
from supervisor.runtime.httpaddress import HttpAddress
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop
from supervisor.runtime.plural import count_of
from supervisor.runtime.rundir import RunDirectory
from supervisor.sockets.systemd import Notifier
from supervisor.table.contents import BASE_CELLS
from supervisor.table.segment import path_of
from supervisor.usage import show_usage

OPENING_SECONDS = 2.0
"""A start waits so long for the exporter, which takes a tenth of that, and is nobody's reason not to serve."""
_LOOK_SECONDS = 0.02
_HEARTBEAT = BASE_CELLS.index("heartbeat_ns")


class Watchers:
    """All who watch one master."""

    def __init__(
        self,
        program: Program,
        loop: Loop,
        log: Log,
        *,
        rundir: RunDirectory,
        accounting: Accounting,
        pool: Pool,
        listeners: Listeners,
        shutdown: ShutdownSequence,
        notifier: Notifier,
        operator: OperatorState,
        in_child: Callable[[set[int]], None],
        metrics: HttpAddress | None,
        metrics_token: bytes,
    ) -> None:
        """`in_child(keep)`: see `Master.forget_all`. `metrics`: where the exporter listens; None: there is none."""
        self._program = program
        self._loop = loop
        self._log = log
        self._rundir = rundir
        self._accounting = accounting
        self._pool = pool
        self._listeners = listeners
        self._shutdown = shutdown
        self._notifier = notifier
        self._operator = operator
        self._orders = OrderCount(operator)
        self._health = HealthWatch(accounting.segment)
        self._standing = StandingBoard(accounting.segment, program.standings)
        self._address = metrics
        self._token = metrics_token
        self._http: socket.socket | None = None
        self._has_http = True
        """Whether the exporter has it, or is born with it."""
        inherit = None if metrics is None else self._inherit
        self._pid = os.getpid()
        self._exporter = Exporter(
            loop, log, in_child, live=program.exporter, inherit=inherit, http=lambda: self._http, buried=self.show_usage
        )
        segment, helper = accounting.segment, program.helper
        self._helper = (
            None
            if helper is None
            else HelperProcess(helper, loop, log, segment=segment, in_child=in_child, buried=self.show_usage)
        )

    @property
    def address(self) -> str:
        """Where the exporter listens, for people."""
        return self._exporter.shown_address

    def open(self) -> None:
        """Opens the exporter's socket in the run directory, beside the control socket. Raises CannotStart."""
        if self._address is not None:
            self._http = self._rundir.open_http_socket()

    def take_http(self, http: socket.socket) -> None:
        """The exporter's socket is another one from now on."""
        if self._http is not None:
            self._http.close()
        self._http, self._has_http = http, False

    def start(self) -> None:
        """The exporter is born, and the helper, if it is wanted."""
        self.show_usage()
        self._exporter.start()
        if self._helper is not None:
            self._helper.start()

    def _inherit(self, lifeline: Any) -> ExporterInheritance:
        """What the exporter receives at birth; in the child."""
        assert self._address is not None
        return ExporterInheritance(
            program=self._program.name,
            version=self._program.version,
            master=self._pid,
            table=path_of(self._accounting.segment.name),
            address=self._address,
            metrics=metrics_of(self._program),
            watched=self._program.watched,
            lifeline=lifeline,
            http=self._http,
            token=self._token,
        )

    def describe(self, config: Config) -> None:
        """A config is in force."""
        described = self._program.describe(config)
        ends = [thing[fact] for sort, fact in metric.ends(self._program.metrics) for thing in described[sort.facts]]
        self._accounting.set_gauges(soonest_end=int(min(ends, default=0)))
        self._exporter.describe(described)
        if self._helper is not None:
            self._helper.describe(config)

    def look_at_health(self, config: Config) -> None:
        """Each second, and at once when a config is in force, before anybody counts for what is new."""
        self._health.look(config.counter_indexes, time.time())
        self._standing.look(config, self._operator, time.monotonic())

    def show_gauges(self, config: Config) -> None:
        """What there is now: to be called when it changes."""
        self._accounting.set_gauges(
            maxsession=config.variables["maxsession"],
            generation=config.generation,
            workers=len(self._pool.workers),
            workers_configured=config.variables["workers"],
            draining=int(self._shutdown.draining),
        )

    def show_usage(self) -> None:
        """In the table; also when a child was buried, whose processor time is in the master's account from then on."""
        show_usage(self._accounting.segment.block(0), children=True)

    def _beat(self) -> None:
        """Who has the table only sees by it that the master lives."""
        self._accounting.segment.block(0)[_HEARTBEAT] = time.monotonic_ns()

    def tell_serving(self) -> None:
        """A worker serves now: /readyz is not to wait for the next second."""
        self._exporter.tell_now(self._pulse())

    def when_open(self, call: Callable[[], None]) -> None:
        """Calls when the exporter answers, at once if there is none or it cannot, and after OPENING_SECONDS anyhow."""
        limit = self._loop.now + OPENING_SECONDS

        def look() -> None:
            if self._exporter.is_opening and self._loop.now < limit:
                self._loop.after(_LOOK_SECONDS, look)
            else:
                call()

        look()

    def look(self, config: Config) -> None:
        """Each second."""
        self.look_at_health(config)
        self._beat()
        self.show_usage()
        self._log.tell_left_out()
        self._accounting.count("log_lines_lost", amount=self._log.newly_lost())
        pulse = self._pulse()
        in_queues = sum(queue.length for queue in pulse.queues)
        self._accounting.set_gauges(waiting=in_queues + self._accounting.count_waiters())
        self._exporter.pulse(pulse)
        if self._http is not None and not self._has_http:
            self._has_http = self._exporter.hand(self._http)
        if self._helper is not None:
            self._helper.pulse()
        if self._shutdown.final and self._exporter.address is not None and self._rundir.has_successor():
            # Who asks there wants to know of the one that serves: its /readyz decides where clients are sent.
            self.stop()
            self._log(messages.EXPORTER_YIELDED)
        self._tell_manager()

    def _pulse(self) -> Pulse:
        serving = sum(worker.serving for worker in self._pool.seated)
        orders = self._orders.told(time.monotonic())
        return Pulse(self._shutdown.draining, serving, self._listeners.queues(), orders=orders)

    def _tell_manager(self) -> None:
        """That the loop turns, what `systemctl status` shows, and that a drain may take its time."""
        self._notifier.alive()
        sessions, workers = self._accounting.count_sessions(), len(self._pool.workers)
        status = f"{count_of(sessions, 'session')}, {count_of(workers, 'worker')}"
        if self._shutdown.draining:
            self._notifier.patience(PATIENCE_SECONDS)
            status = f"{self._shutdown.stage.value}; {status}"
        self._notifier.status(status)

    def stopping(self) -> None:
        """The service manager learns that this program ends."""
        self._notifier.stopping()

    def stop(self) -> None:
        """The exporter ends, and the helper; the exporter's address is free when this returns."""
        self._exporter.stop()
        if self._helper is not None:
            self._helper.stop()
        self._rundir.withdraw_http()
        if self._http is not None:
            self._http.close()


class OrderCount:
    """What watchers are told of orders. There may be a hundred thousand: so they are counted when something is ordered,
    and else every few seconds, for they end by themselves.
    """

    def __init__(self, operator: OperatorState) -> None:
        self._operator = operator
        self._changes = -1
        self._due = 0.0
        self._told: tuple[OrdersTold, ...] = ()

    def told(self, now: float) -> tuple[OrdersTold, ...]:
        """To be called as often as one likes; `now`: of the monotonic clock."""
        if self._operator.changes != self._changes or now >= self._due:
            self._changes, self._due = self._operator.changes, now + AGAIN_SECONDS
            self._told = told_of(self._operator.entries(time.time()))
        return self._told


def told_of(entries: Iterable[OrderEntry]) -> tuple[OrdersTold, ...]:
    """How many orders of each sort there are, and since when; nothing of whom they are about."""
    numbers, oldest = Counter[str](), dict[str, float]()
    for sort, _ident, value in entries:
        numbers[sort] += 1
        said = (value or {}).get("since")
        if isinstance(said, int | float) and 0 < said <= LATEST:
            oldest[sort] = min(oldest.get(sort, float(said)), float(said))
    return tuple(OrdersTold(sort, number, oldest.get(sort, 0.0)) for sort, number in numbers.items())
