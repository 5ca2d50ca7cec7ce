"""The contract between the supervisor and a program that it runs.

A program is one frozen value: its name, the rows of its tables, and how to make the service that answers connections
under a config. The supervisor knows nothing else of it.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from supervisor import compiled
from supervisor.config import Config, Report
from supervisor.control.commands.things import OFFLINE
from supervisor.control.language.context import CommandContext, ControlCommand, Variable
from supervisor.control.language.outcome import Change, SessionSweep
from supervisor.exporterline import ExporterInheritance
from supervisor.helperline import HelperInheritance
from supervisor.metric import Metric, Things
from supervisor.operatorstate import OrderEntry
from supervisor.serving.context import WorkerContext
from supervisor.sockets.listener import Listener
from supervisor.table.contents import Column, RecordShape
from supervisor.watched import Watched

COMMON_DEBUG_OPTIONS = {
    "RINGD": "Communication with the ringd process.",
    "CTRL": "Control requests and answers.",
    "IO": "System calls on connections that are made from then on, by leg, and what came of them; not what was read.",
    "MAIN": "What the program does: births and ends of workers, the steps of changes and of shutdowns.",
}


class PeriodicCommand(NamedTuple):
    """A command that the master says by itself, every so many seconds: the variable `every` tells them, 0 is never."""

    command: str
    every: str


class StartOption(NamedTuple):
    """An option of the command line that a program has for itself: `--name METAVAR`.

    `take` is called with its value, if it is given, before all else; it raises ValueError.
    """

    name: str
    metavar: str
    help: str
    take: Callable[[str], None]


class ThingStanding(NamedTuple):
    """What the operator has made of each thing of a sort, for those who have the table only: by its state, and by what
    he has ordered beside the configuration.
    """

    record: RecordShape
    """Kept by the sort; one of its columns is `ident`, the others are shown under their names."""
    told: Callable[[Config, Sequence[OrderEntry]], Mapping[str, Mapping[str, object]]]
    """The columns of each but `ident`, by id."""


class Helper(NamedTuple):
    """A process beside the workers that does something for all of them."""

    name: str
    wanted: Callable[[Config], bool]
    """Whether it is needed under a config."""
    live: Callable[[HelperInheritance], None]
    """Runs in a process of its own, until the lifeline ends (supervisor/master/helperprocess.py)."""


async def nothing_to_close(_service: "Service") -> None:
    """What a program has open that needs no word at the end."""


async def no_answer(_service: "Service", _question: object) -> object:
    """The answer of a program whose workers no command asks anything: there is none."""
    raise NotImplementedError


class Service(Protocol):
    """One config, ready to serve connections in one worker."""

    def serve(self, row_number: int, fd: int, peer: tuple[str, int], *, listener_name: str) -> None:
        """Takes over an accepted, non-blocking connection (`fd`) and the token for this row. Must not raise, must
        not block.

        The session gives the token back with `WorkerContext.unregister` when it is over.
        """

    def retire(self) -> None:
        """Another service took over, or this one was never committed. Its sessions may still run."""


@dataclass(frozen=True)
class Program:
    """What the supervisor runs."""

    name: str
    version: str
    summary: str
    magic: bytes
    """Eight octets that follow `POPULAR\\0` in the state file."""
    columns: Sequence[Column]
    metrics: Sequence[Metric]
    """Its own, beside those that every program has (common_metrics.py)."""
    states: Sequence[str]
    """Phrases that complete "… while ___"; a row holds the index."""
    endings: Sequence[str]
    debug_options: Mapping[str, str]
    """Option → help."""
    debug_notes: Mapping[str, str]
    """Option → what whoever switches it on should know."""
    variables: Sequence[Variable]
    commands: Sequence[ControlCommand]
    sorts: Sequence[str]
    """The sorts of named things that its config holds, in the order in which an rc file must make them."""
    rc_lines: Callable[[Config], list[str]]
    """The commands that make the things of a config anew, in order."""
    make_service: Callable[[WorkerContext, Config, Service | None], Service]
    """Runs in a thread of a worker; may block.

    Raises `supervisor.control.words.CommandRefused` when the config cannot be served.
    """
    watched: Watched
    """What watchers show of it beside its metrics."""
    describe: Callable[[Config], dict[str, Any]]
    """What a watcher may know of a config: JSON-able, and never a secret."""
    exporter: Callable[[ExporterInheritance], None]
    """Runs in a process of its own, until the lifeline ends (supervisor/master/exporter.py)."""
    exporter_address: str
    """Where it listens if the options do not say it."""
    complete_change: Callable[[CommandContext, Change], Change] = lambda _context, change: change
    """Gives the config of a change what it needs from outside, whatever command made it.

    Raises CommandRefused, NeedsLookup.
    """
    check_change: Callable[[CommandContext, Change], Change] = lambda _context, change: change
    """Looks at the complete one, beside what the operator has ordered; it may add notes. Raises CommandRefused."""
    make_tolerant_service: Callable[[WorkerContext, Config], Service] | None = None
    """Makes that of a worker that is born into a config in force, which others have tried: what it cannot open any more
    it does without, and `reports` tells what that is. None: `make_service` does.
    """
    reports: Callable[[Service], Sequence[Report]] = lambda _service: ()
    """What was found when a service was made."""
    answer: Callable[[Service, Any], Awaitable[Any]] = no_answer
    """What a service says to a question of a command (`AskWorker`), on the loop of its worker: to be pickled.

    Raises CommandRefused.
    """
    ordered: Callable[[Service, Sequence[OrderEntry]], None] = lambda _service, _entries: None
    """Tells the running service that the operator has ordered something new (`WorkerContext.operator` has it already).
    """
    unheeded: Callable[[Iterable[OrderEntry]], Sequence[OrderEntry]] = lambda _entries: ()
    """Which of the orders that were kept are none that it could carry out."""
    sweeps_of: Callable[[Iterable[OrderEntry], float], Sequence[SessionSweep]] = lambda _entries, _now: ()
    """The sweeps that orders want which were said at another instance (now: seconds since 1970)."""
    finish: Callable[[Service], None] = lambda _service: None
    """At the end of a worker, when its loop turns no more: what a service still has to write. May block, for a moment.
    """
    close: Callable[[Service], Coroutine[Any, Any, None]] = nothing_to_close
    """After that, on the loop once more: lets go of what the service has open. It is not waited for long."""
    periodic_commands: Sequence[PeriodicCommand] = ()
    records: Sequence[RecordShape] = ()
    """What its workers find out about configured things, for each other and for watchers."""
    standings: Sequence[ThingStanding] = ()
    remembers: bool = False
    """Whether its workers remember something together of those they serve (table/remembered.py)."""
    ceilings: Mapping[str, int] = field(default_factory=dict)
    """Start options that bound the config: how many things of a sort there may be."""
    start_options: Sequence[StartOption] = ()
    helper: Helper | None = None
    ways: Sequence[str] = ()
    """What it does in one of several ways, whichever this machine allows, each in a few words."""

    def service_at_birth(self, context: WorkerContext, config: Config, *, tolerant: bool) -> Service:
        """The first service of a worker: a tolerant one does without what it cannot open. Raises CommandRefused if the
        config cannot be served.
        """
        if not tolerant or self.make_tolerant_service is None:
            return self.make_service(context, config, None)
        return self.make_tolerant_service(context, config)

    @property
    def form(self) -> str:
        """How it runs on this machine, for people."""
        return "; ".join((compiled.form(), *self.ways))

    @property
    def server_kind(self) -> Things:
        """The sort of things that clients connect to: each has an interface and a port. By it sessions are counted."""
        return self.watched.servers.things

    def listeners(self, config: Config) -> list[Listener]:
        """Which listening sockets a config wants: one for each server that is not offline."""
        things = config.things[self.server_kind.sort].values()
        return [Listener.at(one.id, one.iface.address, one.port) for one in things if one.state != OFFLINE]
