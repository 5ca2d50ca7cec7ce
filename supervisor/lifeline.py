"""The lifeline: a stream socket pair between the master and one worker.

Down go orders and configs, with listening sockets attached (SCM_RIGHTS); up come acknowledgements. Both sides are
non-blocking and buffer what does not fit. If one side dies the other one reads the end of the stream: that is how a
worker notices that its master is gone.

A frame: length and number of descriptors (6 octets), then a pickled message. Pickle is safe here: the two ends are
one program, forked.
"""

import array
import enum
import itertools
import pickle
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from supervisor.config import Config, Report
from supervisor.operatorstate import OrderEntry

_HEAD = struct.Struct("<IH")
_MOST_FDS = 200
"""Descriptors in one sendmsg; the kernel takes 253."""
_READ_SIZE = 1 << 16


class LifelineLost(ConnectionError):
    """The other side is gone."""


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
    """Which sessions are to be ended: none, who loses nothing by it, or all but who has said QUIT."""

    NONE = 0
    GENTLE = 1
    ALL = 2


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
"""To Prepare, Commit and Close: they are for whoever gave the order."""


@dataclass(frozen=True)
class WorkerRequest:
    """Up: an order that the program wants carried out, as if an operator had given it."""

    order: Any


@dataclass(frozen=True)
class Leaving:
    """Up: the answer to Leave: this worker accepts nothing more."""


@dataclass(frozen=True)
class LastWords:
    """Up: the error that this worker dies of."""

    text: str


class Lifeline:
    """One end. `wants_write` tells the owner of the event loop when to call `flush` on writability."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._in = bytearray()
        self._fds: deque[int] = deque()

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def send(self, message: object, fds: Sequence[int] = ()) -> None:
        """Queues a message and sends what fits.

        The descriptors must stay open until they are sent. Raises LifelineLost.
        """
        body = pickle.dumps(message)
        frame = memoryview(_HEAD.pack(len(body), len(fds)) + body)
        # Descriptors travel with an octet of data: beyond one sendmsg's worth, with the frame's first octets, one each.
        batches = [list(fds[start : start + _MOST_FDS]) for start in range(0, len(fds), _MOST_FDS)]
        for position, batch in enumerate(batches[:-1]):
            self._out.append((frame[position : position + 1], batch))
        first = max(0, len(batches) - 1)
        self._out.append((frame[first:], batches[-1] if batches else []))
        self.flush()

    def flush(self) -> None:
        """Sends what fits. Raises LifelineLost."""
        while self._out:
            data, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self.socket.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError as error:
                raise LifelineLost(str(error)) from None
            if sent < len(data):
                self._out[0] = (data[sent:], [])
            else:
                self._out.popleft()

    def receive(self) -> list[tuple[Any, list[int]]]:
        """The whole messages that have come, each with its descriptors.

        Raises LifelineLost at the end of the stream.
        """
        try:
            data, ancillary, _flags, _address = self.socket.recvmsg(
                _READ_SIZE, socket.CMSG_SPACE(4 * _MOST_FDS), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return []
        except OSError as error:
            raise LifelineLost(str(error)) from None
        if not data:
            raise LifelineLost("end of stream")
        for _level, _type, raw in ancillary:
            self._fds.extend(array.array("i", raw[: len(raw) // 4 * 4]))
        self._in += data
        return self._whole_messages()

    def _whole_messages(self) -> list[tuple[Any, list[int]]]:
        messages = []
        while len(self._in) >= _HEAD.size:
            length, fd_count = _HEAD.unpack_from(self._in)
            if len(self._in) < _HEAD.size + length:
                break
            body = bytes(self._in[_HEAD.size : _HEAD.size + length])
            del self._in[: _HEAD.size + length]
            messages.append((pickle.loads(body), [self._fds.popleft() for _ in range(fd_count)]))
        return messages

    def close(self) -> None:
        self.socket.close()
