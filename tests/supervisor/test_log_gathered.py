"""Lines that a worker gathers in shared memory: when they leave, and what becomes of them when it is killed."""

import mmap
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.runtime.log import Log
from supervisor.runtime.logline import Often
from supervisor.runtime.logroom import LOG_ROOM_OCTETS, LogRoom
from supervisor.runtime.messages import LOG_REOPENED, WORKER_BORN

NAMES = ("user", "count")


def _room(octets: int = LOG_ROOM_OCTETS) -> LogRoom:
    return LogRoom(memoryview(mmap.mmap(-1, octets)))


def _log(path: Path, room: LogRoom | None, form: str = "text") -> Log:
    log = Log("probe", str(path), form=form)
    log.after_fork(room)
    return log


def _end(log: Log, number: int, user: str = "ann") -> None:
    log.often(Often(WORKER_BORN, NAMES), f"p.1.{number}", (user, number))


def _numbers(path: Path) -> list[int]:
    """The numbers in the lines of sessions; a line that is not whole is an error."""
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    lines = [line for line in text.splitlines() if " user=" in line]
    assert all(" probe " in line and line.count("=") == 2 for line in lines)
    return [int(line.rpartition("count=")[2]) for line in lines]


def test_lines_wait_and_leave_in_order(tmp_path: Path) -> None:
    """They are written when it is time, when there is no room for one more, and in front of any other line."""
    path = tmp_path / "log"
    log = _log(path, _room(1024))
    _end(log, 1)
    assert path.read_text() == ""
    log.write_out()
    assert _numbers(path) == [1]
    for number in range(2, 31):
        _end(log, number)
    before = _numbers(path)
    assert before == list(range(1, len(before) + 1))
    assert 1 < len(before) < 30
    log(LOG_REOPENED, file="it")
    assert _numbers(path) == list(range(1, 31))
    assert path.read_text().splitlines()[-1].endswith("log_reopened file='it'")
    _end(log, 31, user="ä" * 500)  # as a line it is longer than the room
    assert _numbers(path)[-1] == 31


def test_json_is_gathered_too(tmp_path: Path) -> None:
    """A line of the other form waits as one of text does."""
    path = tmp_path / "log"
    log = _log(path, _room(), form="json")
    _end(log, 1)
    assert path.read_text() == ""
    log.write_out()
    assert '"count": 1}\n' in path.read_text()


def test_where_somebody_looks_now_nothing_waits(tmp_path: Path) -> None:
    """Into a pipe, and with the option at-once, each line is written at once; after a rotation the new file decides."""
    pipe, path = tmp_path / "fifo", tmp_path / "log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = _log(pipe, _room())
    _end(log, 1)
    assert b"count=1\n" in os.read(reader, 1 << 16)
    log.reopen(str(path))
    _end(log, 2)
    assert path.read_text() == ""
    log.reopen(str(pipe))
    assert _numbers(path) == [2]
    _end(log, 3)
    assert b"count=3\n" in os.read(reader, 1 << 16)
    os.close(reader)

    hasty = Log("probe", str(path), at_once=True)
    hasty.after_fork(_room())
    _end(hasty, 4)
    assert _numbers(path) == [2, 4]


def test_what_was_gathered_before_a_rotation_is_in_the_old_file(tmp_path: Path) -> None:
    """The file was moved away: what ended before stands in it, what ends later in the new one."""
    path, moved = tmp_path / "log", tmp_path / "log.1"
    log = _log(path, _room())
    _end(log, 1)
    path.rename(moved)
    log.reopen()
    _end(log, 2)
    log.write_out()
    assert (_numbers(moved), _numbers(path)) == ([1], [2])


def _killed(scene: Callable[[], None]) -> None:
    """A process that does this and is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            scene()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("written", [0, 1, 40, 1000, None])
@pytest.mark.parametrize("behind", [b"", b"20260101 000000 vm other 1 - INF 0001 start\n"])
def test_a_process_killed_while_it_wrote(tmp_path: Path, written: int | None, behind: bytes) -> None:
    """Wherever the writing stopped, and whatever others have written since: each line stands in the log, once."""
    path, room = tmp_path / "log", _room()
    path.write_bytes(b"20260101 000000 vm other 1 - INF 0001 start\n")
    lines = b""

    def scene() -> None:
        log = _log(path, room)
        for number in range(20):
            _end(log, number)
        room.writing(*log.state())
        os.write(log.fileno(), room.lines()[:written])

    _killed(scene)
    room = LogRoom(room._memory)
    lines = room.lines()
    with path.open("ab") as file:
        file.write(behind)
    master = Log("probe", str(path))
    master.rescue(room)
    text = path.read_bytes()
    for line in lines.splitlines(keepends=True):
        assert text.count(line) == 1

    assert text.endswith(b"\n")
    assert len(text.splitlines()) == 1 + 20 + (1 if behind else 0)
    assert master.newly_lost() == 0
    assert LogRoom(room._memory).used == 0
    master.rescue(room)
    assert path.read_bytes() == text


def test_a_full_disk_costs_what_did_not_fit(tmp_path: Path) -> None:
    """Three and a half lines of ten fit: three stand in the log, the half is ended, seven are counted and told of."""
    path, out = tmp_path / "log", tmp_path / "lost"

    def scene() -> None:
        log = _log(path, _room())
        for number in range(10):
            _end(log, number)
        line = path.stat().st_size + len(log._own_room.lines()) // 10
        _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * line + line // 2, hard))
        log.write_out()
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        out.write_text(str(log.newly_lost()))
        _end(log, 10)
        log.write_out()

    _killed(scene)
    lines = path.read_text().splitlines()
    assert out.read_text() == "7"
    assert [line.endswith(f"count={number}") for number, line in enumerate(lines[:3])] == [True] * 3
    assert "count=" not in lines[3]
    assert lines[4].endswith("log_lines_lost lines=7")
    assert lines[5].endswith("count=10")
    assert len(lines) == 6
