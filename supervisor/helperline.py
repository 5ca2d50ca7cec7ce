"""What master and helper say to each other over the helper's lifeline, and what the helper is born with.

A helper is a process beside the workers that does something for all of them, by what a program's `Helper` says.
"""

import socket
from dataclasses import dataclass, field
from typing import Any

from supervisor.config import Config
from supervisor.runtime.messages import Message
from supervisor.table.segment import Segment


@dataclass(frozen=True)
class NewConfig:
    """Down: the running config. It holds secrets, as a worker's does."""

    config: Config = field(repr=False)


@dataclass(frozen=True)
class Beat:
    """Down, each second: the master lives."""


@dataclass(frozen=True)
class ToLog:
    """Up: an entry of the log."""

    message: Message
    fields: dict[str, Any]


@dataclass(frozen=True)
class HelperFault:
    """Up: an error of ours, by its kind and place; it goes on."""

    text: str


@dataclass(frozen=True)
class HelperInheritance:
    """Exactly what the child receives at birth, and nothing else. It may write the records of the table."""

    lifeline: socket.socket
    segment: Segment
