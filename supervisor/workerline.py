"""The messages of master and worker over the worker's lifeline: down go configs, what is to be done and what the
operator has ordered, with listening sockets attached; up come acknowledgements.
"""

import enum
import itertools
import signal
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from supervisor.config import Config, Report
from supervisor.operatorstate import OrderEntry

ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""A worker that is sent one ends its sessions and goes."""


def code_of_end(number: int) -> int:
    """The exit code of a worker that has obeyed such a signal, as shells have it."""
    return 128 + number


@dataclass(frozen=True)
class Prepare:
    """Down: try this config; `anew`: all of it, also what the running one has open already."""

    config: Config
    anew: bool = False


@dataclass(frozen=True)
class Commit:
    """Down: the prepared config is in force from now on. The descriptors are the listening sockets that are new, and
    belong to `listeners`, in order. `seed` feeds the TLS generator.
    """

    generation: int
    listeners: tuple[Any, ...] = ()
    seed: bytes = b""


@dataclass(frozen=True)
class Abort:
    """Down: forget the prepared config."""

    generation: int


@dataclass(frozen=True)
class Accept:
    """Down: accept connections, or leave them in the backlog."""

    allowed: bool


@dataclass(frozen=True)
class Reopen:
    """Down: open the log file anew, under this name."""

    path: str


@dataclass(frozen=True)
class Kill:
    """Down: end the session that holds this token, if it still has this id."""

    token: int
    sid: str


@dataclass(frozen=True)
class PutQuestion:
    """Down: a question that the program understands; the answer bears the same number."""

    number: int
    question: Any = field(repr=False)


@dataclass(frozen=True)
class ChangeState:
    """Down: what the operator has ordered, as far as it is new; the answer bears the same number."""

    number: int
    entries: tuple[OrderEntry, ...] = field(repr=False)


class Cut(enum.IntEnum):
    """Which sessions are to be ended: none, who loses nothing by it, all but who has said QUIT, or he too."""

    NONE = 0
    GENTLE = 1
    ALL = 2
    COMMITTING_TOO = 3


class Aim(NamedTuple):
    """Whose sessions are meant: by a mark of theirs, or by network; of those that had begun by then (monotonic)."""

    sort: str
    id: str
    before: float
    cut: Cut


class SweepFound(NamedTuple):
    """How many sessions there were, by what they would lose (CutCost), and how many are left."""

    counts: tuple[int, ...] = ()
    left: int = 0

    def plus(self, other: "SweepFound") -> "SweepFound":
        counts = itertools.zip_longest(self.counts, other.counts, fillvalue=0)
        return SweepFound(tuple(one + more for one, more in counts), self.left + other.left)


@dataclass(frozen=True)
class Sweep:
    """Down: one round through the sessions; the answer bears the same number."""

    number: int
    aims: tuple[Aim, ...]


@dataclass(frozen=True)
class Swept:
    """Up: the answer to Sweep, for each aim."""

    number: int
    found: tuple[SweepFound, ...]


@dataclass(frozen=True)
class Close:
    """Down: empty and close these listening sockets; who waits in them is served as before the Commit."""

    generation: int
    listeners: tuple[Any, ...]


@dataclass(frozen=True)
class Lend:
    """Down: accept on these listening sockets, too, whose slot is vacant. The descriptors belong to them, in order."""

    listeners: tuple[Any, ...]


@dataclass(frozen=True)
class TakeBack:
    """Down: what was lent is accepted from by another; who waits there is his."""

    listeners: tuple[Any, ...]


@dataclass(frozen=True)
class Leave:
    """Down: accept nothing more, finish the sessions, then go. `empty`: first accept who waits in the queues."""

    empty: bool


@dataclass(frozen=True)
class CloseQueues:
    """Down, before EndSessions: the time is up for those too who wait in queues that are still to be emptied."""


@dataclass(frozen=True)
class EndSessions:
    """Down: the time is up; end the sessions, the ones first that lose least by it."""


@dataclass(frozen=True)
class Born:
    """Up: the worker serves the config it was born with, and what was found then."""

    generation: int
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True)
class Ready:
    """Up: the config can be served, and what was found then."""

    generation: int
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True)
class Unable:
    """Up: the config cannot be served, and why."""

    generation: int
    reason: str


@dataclass(frozen=True)
class InForce:
    """Up: every connection that is accepted from now on is served under this config."""

    generation: int


@dataclass(frozen=True)
class ListenersClosed:
    """Up: the answer to Close."""

    generation: int


@dataclass(frozen=True)
class QuestionAnswered:
    """Up: the answer to PutQuestion, or why there is none."""

    number: int
    value: Any = field(default=None, repr=False)
    failure: str | None = None


@dataclass(frozen=True)
class StateChanged:
    """Up: the answer to ChangeState; who is served from now on is served so."""

    number: int


ANSWERS = (Ready, Unable, InForce, ListenersClosed)
"""To Prepare, Commit and Close: they are for whoever has said that."""


@dataclass(frozen=True)
class WorkerRequest:
    """Up: an action (`Action`) that the program wants carried out, as if an operator had given it."""

    action: Any


@dataclass(frozen=True)
class Leaving:
    """Up: the answer to Leave: this worker accepts nothing more."""


@dataclass(frozen=True)
class LastWords:
    """Up: the error that this worker dies of; or, where a signal ends it, how many sessions it cuts for that."""

    text: str
    cut: int = 0
