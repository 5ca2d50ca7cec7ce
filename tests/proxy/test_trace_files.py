"""The files of a recorder: who may read them, how much goes into them, and what if they cannot be written."""

import asyncio
import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from popular.proxy.session.tracing import trace_buffer, trace_writer
from popular.proxy.session.tracing.session_trace import session_trace_of
from popular.proxy.session.tracing.trace_registry import TraceRegistry
from popular.proxy.session.tracing.trace_writer import append
from popular.proxy.settings.tracing import FULL, ListTraces
from tests.proxy.recording_worker import HOME, Worker, kept


def test_a_file_has_room_for_so_much(worker: Worker) -> None:
    """In whole lines; then nobody is recorded for it any more."""
    worker.orders(1, "vserv", "v1", most=4096)
    session_trace = kept(worker)
    for number in range(1000):
        session_trace.tell("%04d", (number,))
    session_trace.end("quit")
    assert worker.written(1)[-1].startswith("-- 0")
    assert 3900 < worker.path(1).stat().st_size <= 4096
    assert worker.session() is None
    assert [entry["event"] for entry in worker.logged] == ["trace_full"]
    assert worker.counted["traces_filled"] == 1
    assert worker.counted["trace_octets written"] == worker.path(1).stat().st_size
    assert worker.counted["trace_octets dropped"] > 0


def test_it_is_told_once_that_it_is_full(worker: Worker) -> None:
    """By whichever worker it was; and none has more than the room that was left."""
    other = TraceRegistry(worker)  # type: ignore[arg-type]
    worker.orders(1, "vserv", "v1", most=4096)
    other.changed()
    for registry in (worker.registry, other):
        session_trace = session_trace_of(registry, "v1", HOME)
        assert session_trace is not None
        for number in range(500):
            session_trace.tell("%04d", (number,))
        session_trace.flush()
        worker.loop.run_until_complete(asyncio.sleep(0.01))
        while any(trace.writer.is_writing for trace in registry._traces.values()):
            worker.loop.run_until_complete(asyncio.sleep(0.001))
    assert [entry["event"] for entry in worker.logged] == ["trace_full"]
    assert worker.counted["traces_filled"] == 1
    status = worker.path(1).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_size <= 4096) == (0o600 | FULL, True)


def test_who_may_read_it(tmp_path: Path) -> None:
    """Nobody but the program's user; and a link that somebody has put there is not followed."""
    path = tmp_path / "traces" / "pproxy-1.trace"
    assert not append(str(path), b"a\n", 4096).is_full
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not append(str(path), b"b\n", 4096).is_full
    assert path.read_text() == "a\nb\n"
    (tmp_path / "other").write_text("")
    path.unlink()
    path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        append(str(path), b"c\n", 4096)


def test_a_file_that_cannot_be_written_is_told_and_stops_nothing(worker: Worker) -> None:
    """Once, however many sessions there are; as soon as it can be, they are there again, and how much is missing."""
    (worker.directory / "traces").write_text("in the way")
    worker.orders(1, "vserv", "v1")
    for _ in range(3):
        session_trace = kept(worker)
        session_trace.tell("something")
        session_trace.flush()
        session_trace.end("quit")
        worker.settle()
    assert [fields["reason"] for fields in worker.logged] == [os.strerror(17)]
    lost = worker.counted["trace_octets dropped"]
    (worker.directory / "traces").unlink()
    for _ in range(2):
        kept(worker).end("quit")
    missing = f"-- {lost:,} octets are missing here: {os.strerror(17)}"
    assert worker.written(1) == [missing, "-- the end: quit", "-- the end: quit"]
    assert worker.counted["trace_octets dropped"] == lost
    assert len(worker.logged) == 1


def test_a_disk_that_is_full_leaves_no_half_line(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file says that something could not be written, for whoever lists it, until something can be again."""
    worker.orders(1, "vserv", "v1")
    kept(worker).end("quit")
    worker.settle()
    room, write = [5], os.write

    def write_what_fits(fd: int, octets: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fits, room[0] = octets[: room[0]], 0
        return write(fd, fits)

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_what_fits)
        kept(worker).end("lost")
        worker.settle()
    assert worker.written(1) == ["-- the end: quit"]
    (listed,) = ListTraces(str(worker.directory / "traces"), "pproxy").perform()
    assert (bool(listed.error), listed.full) == (True, False)
    kept(worker).end("found")
    assert worker.written(1)[-1] == "-- the end: found"
    (listed,) = ListTraces(str(worker.directory / "traces"), "pproxy").perform()
    assert (listed.error, listed.full) == ("", False)


def test_what_waits_for_the_disk_is_bounded(worker: Worker) -> None:
    """Threads that are all at something else, or a slow disk: no more is kept than the file has room for."""
    go_on = threading.Event()
    worker.pool.submit(go_on.wait)
    worker.orders(1, "vserv", "v1", most=4096)
    session_trace = kept(worker)
    for number in range(10_000):
        session_trace.tell(f"{number:04}")
        session_trace.flush()
    (trace,) = worker.registry._traces.values()
    assert sum(map(len, trace.writer.waiting)) < 5000
    go_on.set()
    assert worker.written(1)[:2] == ["-- 0000", "-- 0001"]
    assert worker.path(1).stat().st_size <= 4096


def test_what_waits_is_bounded_where_the_file_is_not(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace may have a gigabyte, and there may be a hundred: a disk that hangs costs a worker little of that."""
    monkeypatch.setattr(trace_writer, "MOST_OWED", 4096)
    go_on = threading.Event()
    worker.pool.submit(go_on.wait)
    worker.orders(1, "vserv", "v1", most=1 << 30)
    session_trace = kept(worker)
    for number in range(1000):
        session_trace.tell(f"{number:04}")
        session_trace.flush()
    (trace,) = worker.registry._traces.values()
    assert trace.writer.owed < 5000
    go_on.set()
    worker.written(1)
    assert worker.counted["trace_octets dropped"] > 10_000


def test_pieces_come_in_order(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: one is written after the other."""
    monkeypatch.setattr(trace_buffer, "_PIECE", 64)
    worker.orders(1, "vserv", "v1")
    session_trace = kept(worker)
    for number in range(500):
        session_trace.tell("%04d", (number,))
    session_trace.end("quit")
    assert worker.written(1) == [*(f"-- {number:04}" for number in range(500)), "-- the end: quit"]
