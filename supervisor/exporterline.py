"""What master and exporter say to each other over the exporter's lifeline, and what the exporter is born with."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.metric import Metric
from supervisor.runtime.httpaddress import HttpAddress
from supervisor.watched import Watched


@dataclass(frozen=True)
class DescribedConfig:
    """Down: the running config, as the program describes it."""

    described: dict[str, Any]


class Queue(NamedTuple):
    """Who waits at the listening sockets of one listener in one slot, and how many can."""

    listener: str
    slot: int
    length: int
    limit: int


class OrdersTold(NamedTuple):
    """How many orders of a sort are in force beside the configuration, and since when the oldest is, seconds since 1970
    (0: that is not known).
    """

    sort: str
    number: int
    since: float


@dataclass(frozen=True)
class Pulse:
    """Down, each second: the master lives; whether it is leaving, how many workers serve, who waits, and what the
    operator has ordered.
    """

    draining: bool
    serving: int
    queues: tuple[Queue, ...]
    orders: tuple[OrdersTold, ...] = ()


@dataclass(frozen=True)
class HttpSocket:
    """Down: answer at this Unix socket, too, whose descriptor comes with it."""


@dataclass(frozen=True)
class Listening:
    """Up: it has its address."""

    address: HttpAddress


@dataclass(frozen=True)
class Waiting:
    """Up: it cannot have its address yet, and goes on trying."""

    reason: str


@dataclass(frozen=True)
class Fault:
    """Up: an error of ours, told once for each kind and place; it goes on."""

    text: str


@dataclass(frozen=True)
class ExporterInheritance:
    """Exactly what the child receives at birth, and nothing else."""

    program: str
    version: str
    master: int
    table: Path
    address: HttpAddress
    metrics: tuple[Metric, ...]
    watched: Watched
    lifeline: socket.socket
    http: socket.socket | None = None
    """Listens in the run directory, with the rights of the control socket."""
    token: bytes = b""
    """The digest of the token that lets see names in full; empty if there is none."""
