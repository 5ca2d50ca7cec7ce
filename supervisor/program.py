"""The contract between the supervisor and a program that it runs.

A program is one frozen value: its name, the rows of its tables, and two functions: which listening sockets a config
wants, and how to make the service that answers connections under a config. The supervisor knows nothing else of it.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from supervisor.config import Config
from supervisor.control.kinds import ANY
from supervisor.control.language import Sentence
from supervisor.control.outcome import Change, Desk
from supervisor.control.variables import Variable
from supervisor.exporter import ExporterInheritance
from supervisor.metric import Metric, Things
from supervisor.table.layout import Column
from supervisor.workshop import Workshop


class Listener(NamedTuple):
    """A listening socket that a config wants. `address` is what `bind` takes; `family` AF_INET or AF_INET6.

    `dual_stack` clears IPV6_V6ONLY. Two equal listeners are the same sockets: they are not opened anew. (The backlog
    is not part of it: a changed `backlog` counts for future listen calls only.)

    `spare` is 0 in a config; a worker that is lent several sockets of one listener tells them apart by it.
    """

    name: str
    family: int
    address: tuple[Any, ...]
    dual_stack: bool
    spare: int = 0

    @classmethod
    def at(cls, name: str, iface: str, port: int) -> "Listener":
        """On a numeric address; or on ANY: all addresses, of IPv6 and IPv4 by one socket where the host has both."""
        if iface == ANY:
            if socket.has_dualstack_ipv6():
                return cls(name, socket.AF_INET6, ("::", port), True)
            return cls(name, socket.AF_INET, ("0.0.0.0", port), False)
        return cls(name, socket.AF_INET6 if ":" in iface else socket.AF_INET, (iface, port), False)


class Routine(NamedTuple):
    """A sentence that the master says by itself, every so many seconds: the variable `every` tells them, 0 is never."""

    sentence: str
    every: str


class Service(Protocol):
    """One config, ready to serve connections in one worker."""

    def serve(self, token: int, connection: socket.SocketType, peer: tuple[Any, ...], listener: str) -> None:
        """Takes over an accepted, non-blocking connection and the token that it holds. Must not raise, must not block.

        The session gives the token back with `Workshop.release` when it is over.
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
    variables: Sequence[Variable]
    sentences: Sequence[Sentence]
    sorts: Sequence[str]
    """The sorts of named things that its config holds, in the order in which an rc file must make them."""
    rc_lines: Callable[[Config], list[str]]
    """The sentences that make the things of a config anew, in order."""
    listeners: Callable[[Config], list[Listener]]
    make_service: Callable[[Workshop, Config, Service | None], Service]
    """Runs in a thread of a worker; may block.

    Raises `supervisor.control.language.Refused` when the config cannot be served.
    """
    front: Things
    """The sort whose ids are the names of the listeners: by it sessions are counted."""
    describe: Callable[[Config], dict[str, Any]]
    """What a watcher may know of a config: JSON-able, and never a secret."""
    exporter: Callable[[ExporterInheritance], None]
    """Runs in a process of its own, until the lifeline ends (supervisor/exporter.py)."""
    exporter_address: str
    """Where it listens if the options do not say it."""
    complete: Callable[[Desk, Change], Change] = lambda _desk, change: change
    """Gives the config of a change what it needs from outside, whatever sentence made it. Raises Refused, Wanted."""
    routines: Sequence[Routine] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    """Start options that bound the config: how many things of a sort there may be."""
