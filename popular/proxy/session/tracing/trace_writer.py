"""Writes the file of a trace, in threads, one piece after the other; one for each trace and worker.

Several workers write into the same file, so each line bears its session's id, and each piece is whole lines. What finds
no room, or cannot be written, is counted, and stops nothing.
"""

import fcntl
import os
import stat
from asyncio import Future, wrap_future
from collections.abc import Mapping
from concurrent.futures import Future as WorkOfThread
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from popular.messages import TRACE_FULL, TRACE_NOT_WRITTEN
from popular.protocol.printable import printable
from popular.proxy.settings.tracing import FULL, HEAD, UNWRITTEN
from supervisor.serving.context import WorkerContext
from supervisor.serving.threadpool import NoThread

MOST_OWED = 4 << 20
"""Octets of a trace that may wait for the disk in a worker, where its file has room for more."""
_LONGEST_WAIT_SECONDS = 1.0
"""For a thread, at the end."""


class Written(NamedTuple):
    """What came of a piece: how many octets of it are in the file, how many found no room there, whether it is full,
    and whether it was before.
    """

    octets: int
    left_out: int
    is_full: bool
    was_full: bool


@dataclass(eq=False)
class TraceWriter:
    """The writer of one trace. `whose`: the fields `trace`, `of` and `name` of an entry of the log about it."""

    context: WorkerContext
    whose: Mapping[str, str]
    path: str
    most: int
    waiting: list[bytes] = field(default_factory=list)
    owed: int = 0
    """Octets that wait, or are being written."""
    is_writing: bool = False
    writing: WorkOfThread[Written] | None = None
    """The last piece that was given to a thread."""
    is_full: bool = False
    """Nothing more is written: it has as much as it may have."""
    error: str = ""
    """Why what was to be written last could not be; the next piece is tried all the same."""
    lost: int = 0
    """Octets that could not be written; the file is told when it can be again."""

    def write(self, octets: bytes) -> None:
        """Adds whole lines, in a thread. What has no room never waits for it."""
        if self.is_full or self.owed > min(self.most, MOST_OWED):
            self.drop(len(octets))
            return
        self.owed += len(octets)
        self.waiting.append(octets)
        if not self.is_writing:
            self.is_writing = True
            self._send()

    def drop(self, octets: int) -> None:
        """So many are not written."""
        if octets:
            self.context.count("trace_octets", "dropped", amount=octets)

    def head(self) -> bytes:
        """Its first line, by which `trace list` knows whose it was when the order is over."""
        trace, of, name = self.whose["trace"], self.whose["of"], printable(self.whose["name"])
        return f"{HEAD}{trace}: {of} {name}\n".encode("utf-8", "replace")

    def finish(self) -> None:
        """At the end of the worker: what waits is written, after what a thread has."""
        if self.writing is not None:
            wait([self.writing], _LONGEST_WAIT_SECONDS)
        if self.waiting or self.lost:
            with suppress(OSError):
                append(self.path, self._gap() + b"".join(self.waiting), self.most, head=self.head())

    def _gap(self) -> bytes:
        """A line for what could not be written; nothing where there is no such."""
        said = f"- +0.000000 -- {self.lost:,} octets are missing here: {self.error}\n"
        return said.encode("utf-8", "replace") if self.lost else b""

    def _send(self) -> None:
        octets, self.waiting = b"".join(self.waiting), []
        octets_now = self._gap() + octets
        try:
            self.writing = self.context.pool.submit(append, self.path, octets_now, self.most, head=self.head())
        except NoThread as error:
            self._written(len(octets), error)
            return
        written: Future[Written] = wrap_future(self.writing, loop=self.context.loop)
        written.add_done_callback(lambda done: self._written(len(octets), done.exception() or done.result()))

    def _written(self, length: int, outcome: Written | BaseException) -> None:
        self.owed -= length
        if isinstance(outcome, BaseException):
            self._has_failed(outcome, length)
        else:
            self.error, self.lost = "", 0
            self._has_written(outcome)
        if self.is_full:
            self.drop(self.owed)
            self.waiting.clear()
            self.owed = 0
        self.is_writing = bool(self.waiting)
        if self.is_writing:
            self._send()

    def _has_failed(self, error: BaseException, length: int) -> None:
        reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        if not self.error:
            self.context.log(TRACE_NOT_WRITTEN, "-", file=self.path, reason=reason)
        self.error = reason
        self.lost += length
        self.drop(length)

    def _has_written(self, written: Written) -> None:
        if written.octets:
            self.context.count("trace_octets", "written", amount=written.octets)
        self.drop(written.left_out)
        self.is_full = self.is_full or written.is_full
        if written.is_full and not written.was_full:
            self.context.count("traces_filled")
            self.context.log(TRACE_FULL, "-", **self.whose, octets=self.most)


def append(path: str, octets: bytes, most: int, *, head: bytes = b"") -> Written:
    """Writes whole lines after what is there, or after `head` if nothing is, for nobody else to read. Raises OSError.

    The mode of a file tells the others who write there, and `trace list`, that it is full (FULL), which is told once,
    or that what was last to be written could not be (UNWRITTEN), of which it then holds nothing. They come one after
    the other (flock), so none has more than its room.
    """
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        octets = octets if status.st_size else head + octets
        room = max(0, most - status.st_size)
        fits = octets if len(octets) <= room else octets[: octets.rfind(b"\n", 0, room) + 1]
        left_out = len(octets) - len(fits)
        try:
            _write_whole(fd, fits, status.st_size)
        except OSError:
            with suppress(OSError):
                os.fchmod(fd, mode | UNWRITTEN)
            raise
        now = (mode & ~UNWRITTEN if fits else mode) | (FULL if left_out else 0)
        if now != mode:
            os.fchmod(fd, now)
        return Written(len(fits), left_out, is_full=left_out > 0, was_full=bool(mode & FULL))
    finally:
        os.close(fd)


def _write_whole(fd: int, octets: bytes, size: int) -> None:
    """All of it after so many that are there, or nothing."""
    try:
        while octets:
            octets = octets[os.write(fd, octets) :]
    except OSError:
        os.ftruncate(fd, size)
        raise
