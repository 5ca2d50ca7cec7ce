"""The contract between the supervisor and a program that it runs.

A program is one frozen value: its name, the rows of its tables, and two functions: which listening sockets a config
wants, and how to make the service that answers connections under a config. The supervisor knows nothing else of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from supervisor.config import Config, Report
from supervisor.control.context import CommandContext, ControlCommand, Variable
from supervisor.control.outcome import Change
from supervisor.exporterline import ExporterInheritance
from supervisor.metric import Metric, Things
from supervisor.runtime.messages import Message
from supervisor.serving.context import WorkerContext
from supervisor.sockets.listener import Listener
from supervisor.table.layout import Column


class PeriodicCommand(NamedTuple):
    """A command that the master says by itself, every so many seconds: the variable `every` tells them, 0 is never."""

    command: str
    every: str


class Service(Protocol):
    """One config, ready to serve connections in one worker."""

    def serve(self, token: int, fd: int, peer: tuple[str, int], listener: str) -> None:
        """Takes over an accepted, non-blocking connection (`fd`) and the token that it holds. Must not raise, must
        not block.

        The session gives the token back with `WorkerContext.release` when it is over.
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
    messages: Sequence[Message]
    columns: Sequence[Column]
    metrics: Sequence[Metric]
    """Its own, beside those that every program has (common_metrics.py)."""
    states: Sequence[str]
    """Phrases that complete "… while ___"; a row holds the index."""
    endings: Sequence[str]
    debug_options: Mapping[str, str]
    """Option → help."""
    variables: Sequence[Variable]
    commands: Sequence[ControlCommand]
    sorts: Sequence[str]
    """The sorts of named things that its config holds, in the order in which an rc file must make them."""
    rc_lines: Callable[[Config], list[str]]
    """The commands that make the things of a config anew, in order."""
    listeners: Callable[[Config], list[Listener]]
    make_service: Callable[[WorkerContext, Config, Service | None], Service]
    """Runs in a thread of a worker; may block.

    Raises `supervisor.control.language.CommandRefused` when the config cannot be served.
    """
    listener_kind: Things
    """The sort whose ids are the names of the listeners: by it sessions are counted."""
    describe: Callable[[Config], dict[str, Any]]
    """What a watcher may know of a config: JSON-able, and never a secret."""
    exporter: Callable[[ExporterInheritance], None]
    """Runs in a process of its own, until the lifeline ends (supervisor/master/exporter.py)."""
    exporter_address: str
    """Where it listens if the options do not say it."""
    complete: Callable[[CommandContext, Change], Change] = lambda _context, change: change
    """Gives the config of a change what it needs from outside, whatever command made it.

    Raises CommandRefused, NeedsLookup.
    """
    reports: Callable[[Service], Sequence[Report]] = lambda _service: ()
    """What was found when a service was made."""
    periodic_commands: Sequence[PeriodicCommand] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    """Start options that bound the config: how many things of a sort there may be."""
