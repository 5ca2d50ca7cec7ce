"""A log on a full disk: what is lost is counted and told, and no half line spoils another one."""

import fcntl
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

from supervisor.master.audit import LOST, TOLD, Audit
from supervisor.runtime.log import Log
from supervisor.runtime.logfile import LogFile
from supervisor.runtime.messages import LOG_REOPENED, WORKER_BORN
from tests.supervisor.changing import QUIET
from tests.system.site import log_entries

NAME = "zoë"


def _in_a_child(scene: Callable[[], None]) -> None:
    """The limit of the size of files is the whole process's."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            scene()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _leave_room(path: Path, octets: int | None) -> None:
    """The disk has so much space left; None: plenty."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = hard if octets is None else path.stat().st_size + octets
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))


def test_a_half_line_is_ended(tmp_path: Path) -> None:
    """Wherever it breaks off, also within a character: the next line, of this process or another, is one of its own."""
    path = tmp_path / "log"

    def scene() -> None:
        theirs = Log("theirs", str(path))
        Log("ours", str(path))(WORKER_BORN, name=NAME)
        for room in range(path.stat().st_size):
            ours = Log("ours", str(path))
            _leave_room(path, room)
            ours(WORKER_BORN, name=NAME)
            _leave_room(path, None)
            theirs(LOG_REOPENED)
            ours(WORKER_BORN, name=NAME)
            assert (ours.newly_lost(), ours.newly_lost()) == (1, 0)

    _in_a_child(scene)
    whole, *lines = path.read_text().splitlines()
    for room in range(len(whole.encode()) + 1):
        if room:
            half, *lines = lines
            assert len(half.encode()) == room - 1
            assert half.rstrip()[16:] in whole
        *told, again = (line.partition(" - ")[2] for line in lines[:3])
        assert told == ["INF 0208 log_reopened", "ADM 021a log_lines_lost lines=1"]
        assert again == f"INF 0200 worker_born name='{NAME}'"
        lines = lines[3:]
    assert lines == []


def test_a_process_tells_once_what_it_lost(tmp_path: Path) -> None:
    """Nothing can be written for a while: then one line says how many are missing, in front of the next."""
    path = tmp_path / "log"

    def scene() -> None:
        log = Log("probe", str(path))
        for count in (0, 3, 0, 1):
            _leave_room(path, 0)
            for number in range(count):
                log(WORKER_BORN, slot=number)
            _leave_room(path, None)
            log(LOG_REOPENED, file="it")

    _in_a_child(scene)
    found = [(entry.name, entry.fields) for entry in log_entries(path)]
    good = ("log_reopened", {"file": "it"})
    assert found == [
        good,
        ("log_lines_lost", {"lines": "3"}),
        good,
        good,
        ("log_lines_lost", {"lines": "1"}),
        good,
    ]


def test_a_pipe_that_is_full(tmp_path: Path) -> None:
    """There nothing can be ended in its place: the next line that can be written begins with the line end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Log("probe", str(path))
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(log.fileno(), False)
    while not log.newly_lost():
        log(WORKER_BORN, words="w" * 500, more="m" * 500, and_more="a" * 500)
        # A pipe takes at most a page as a whole, so these are below that; a longer one is taken in part.
        log(WORKER_BORN, **{f"words_{number}": "w" * 500 for number in range(10)})
    before = os.read(reader, 1 << 16)
    log(LOG_REOPENED, file="it")
    text = (before + os.read(reader, 1 << 16)).decode()
    os.close(reader)
    os.close(log.fileno())
    assert not before.endswith(b"\n"), "a line was cut off"
    *_some, torn, lost, reopened = text.splitlines()
    assert torn.endswith("w")
    assert lost.endswith(" - ADM 021a log_lines_lost lines=1")
    assert reopened.endswith(" - INF 0208 log_reopened file='it'")


def test_a_device_that_is_full() -> None:
    """/dev/full as the log: nothing is written, everything is counted, nothing is raised."""
    log = Log("probe", "/dev/full")
    for _ in range(3):
        log(WORKER_BORN)
    assert log.newly_lost() == 3
    os.close(log.fileno())


def test_of_the_audit_log_no_part_of_a_line_stays(tmp_path: Path) -> None:
    """Wherever it breaks off, each line of the file is JSON, and the missing ones are counted."""
    path = tmp_path / "audit"
    rooms = range(0, 100, 9)

    def scene() -> None:
        audit = Audit("proxy", LogFile(str(path)), QUIET)
        for room in rooms:
            _leave_room(path, room)
            audit.told("other", "lock user ann")
            _leave_room(path, None)
            audit.told("other", "lock user joe")
            assert audit.not_written == 0

    _in_a_child(scene)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["event"] for entry in entries] == [LOST, TOLD] * len(rooms)
