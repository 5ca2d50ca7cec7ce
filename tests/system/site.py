"""A small mail site of real processes on loopback, for tests. What a test needs is imported from here.

    with Proxy(tmp_path, ["backend conf …", "pdm add …", "vserv conf …"]) as proxy:
        with PopClient(port) as client: …
        proxy.control("sessions")

`Proxy` starts `pproxy`, says the lines over its control socket, and at the end of its `with` block shuts it down and
asserts that nothing is left: no process, control socket, shared memory or lock, no line of level BUG in its log, and
nothing on its standard error.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from supervisor.pcontrol.connection import ControlReply, ReplyReader, encode_request
from supervisor.table.segment import View
from tests.bench import processes
from tests.patience import PATIENCE, patient
from tests.system.wire import (
    LOOPBACK,
    CheckServer,
    Conversation,
    Peer,
    Play,
    PopClient,
    ScriptedBackend,
    free_port,
    pop3_server,
    wait_until,
    xpop_server,
)

__all__ = [
    "LOOPBACK",
    "PATIENCE",
    "CheckServer",
    "ControlReply",
    "Conversation",
    "Entry",
    "Peer",
    "Play",
    "PopClient",
    "Proxy",
    "ScriptedBackend",
    "free_port",
    "log_entries",
    "need",
    "pop3_server",
    "program",
    "wait_until",
    "xpop_server",
]

STARTED: set[Path] = set()
"""Run directories of all programs that were started, for the check at the end of the test run."""

SEGMENTS: set[Path] = set()
"""Their shared memory, as files."""


def need(name: str) -> str:
    """The path of a program from the distribution. Where it is missing the test is skipped, or fails if CI is set."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is not None:
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{name} must be installed where CI is set")
    pytest.skip(f"{name} is not installed")


def program(name: str) -> str:
    """The path of one of our own programs, installed beside the interpreter that runs the tests."""
    return str(Path(sys.executable).with_name(name))


class Entry(NamedTuple):
    """One line of a log in the text form."""

    pid: int
    sid: str
    level: str
    number: str
    name: str
    fields: dict[str, str]
    line: str


_ENTRY = re.compile(
    r"\d{8} \d{6} \S+ \S+ (?P<pid>\d+) (?P<sid>\S+) (?P<level>[A-Z]{3}) (?P<number>[0-9a-f]{4})"
    r" (?P<name>\S+)(?P<fields>.*)"
)
_FIELD = re.compile(r" (\w+)=(?:'((?:[^'\\]|\\.)*)'|(\S+))")


def log_entries(path: Path) -> list[Entry]:
    """The log, line by line. Fails on a line that is none."""
    return _LogReader(path).entries()


class _LogReader:
    """Reads a log again and again, each line once; also one that is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = (0, 0)
        self._entries: list[Entry] = []

    def entries(self) -> list[Entry]:
        with self._path.open("rb") as file:
            inode, offset = os.fstat(file.fileno()).st_ino, self._place[1]
            if inode != self._place[0] or os.fstat(file.fileno()).st_size < offset:
                self._entries, offset = [], 0
            file.seek(offset)
            lines, end, _half = file.read().rpartition(b"\n")
            self._entries += [_entry(line) for line in lines.decode().split("\n") if end]
            self._place = inode, offset + len(lines) + len(end)
        return self._entries


def _entry(line: str) -> Entry:
    match = _ENTRY.fullmatch(line)
    assert match is not None, f"not a line of a log: {line!r}"
    assert not _FIELD.sub("", match["fields"]), f"not only fields behind the name: {line!r}"
    fields = {key: text or bare for key, text, bare in _FIELD.findall(match["fields"])}
    return Entry(int(match["pid"]), match["sid"], match["level"], match["number"], match["name"], fields, line)


SEEN = [] if os.getuid() == 0 else ["--cores"]
"""Options that let tests look into /proc/PID, as only root can otherwise."""


class Proxy:
    """A running `pproxy` (or, by `name`, another program of the supervisor). Use it in a `with` block.

    `rundir`, `logfile` and `pid` may be looked at.
    """

    def __init__(
        self,
        directory: Path,
        rc_lines: Iterable[str] = (),
        workers: int = 2,
        options: Sequence[str] = (),
        name: str = "pproxy",
        metrics: str = "off",
    ) -> None:
        """`options` go to the command line; `rc_lines` are said when the control socket answers, and must be +OK.

        `metrics` is the address of the exporter; `127.0.0.1:0` for one that nobody else has.
        """
        self.name = name
        self.rundir = directory / "run"
        self.logfile = directory / f"{name}.log"
        self.stderr = directory / f"{name}.stderr"
        self._rc_lines = list(rc_lines)
        self._command = [program(name), "-r", str(self.rundir), "-l", str(self.logfile), "-w", str(workers)]
        self._command += ["--statedir", str(directory / "state"), "--metrics", metrics, *SEEN, *options]
        self._segment: Path | None = None
        self._log = _LogReader(self.logfile)
        self._killed = False
        self._orphans: list[int] = []
        self.pid = 0

    def __enter__(self) -> Self:
        STARTED.add(self.rundir)
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=stderr)
        self.pid = self.process.pid
        try:
            wait_until(self._is_ready, f"{self.name} is ready; it said {self.stderr.read_text()!r}")
            self._find_segment()
            for line in self._rc_lines:
                self.said(line)
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind: object, *_exception: object) -> None:
        if kind is None:
            self.stop()
        else:
            self._kill()

    def _find_segment(self) -> None:
        link = self.rundir / f"{self.name}.state"
        if self._segment is None and link.is_symlink():
            self._segment = link.readlink()
            SEGMENTS.add(self._segment)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self.name} ended: {self.stderr.read_text()!r}"
        try:
            # Another one may have the link of this run directory still.
            return self.said("show pid").lines == [f"pid {self.pid}"] and bool(self.workers())
        except (OSError, ValueError):
            return False

    # Talking to it

    def control(self, command: str, patience: float = PATIENCE) -> ControlReply:
        """Says a command over the control socket and gives the reply."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(patience)
            control.connect(str(self.rundir / f"{self.name}.ctrl"))
            control.sendall(encode_request(command))
            reader = ReplyReader()
            while True:
                piece = control.recv(1 << 16)
                if not piece:
                    raise ConnectionError(f"closed without a reply to {command!r}")
                answers = reader.feed(piece)
                if answers:
                    return answers[0]

    def said(self, command: str) -> ControlReply:
        """Says a command that must be +OK."""
        answer = self.control(command)
        assert answer.ok, f"{command}: {answer.text}"
        return answer

    def json(self, command: str) -> Any:
        """The data of a command, by `json COMMAND`."""
        return json.loads(self.said(f"json {command}").lines[0])

    def sessions(self) -> list[dict[str, Any]]:
        """The living sessions, as `sessions` tells them."""
        rows: list[dict[str, Any]] = self.json("sessions")
        return rows

    def state(self) -> View:
        """The session table, as a reader sees it. Raises OSError while there is none."""
        return View.open(self.rundir / f"{self.name}.state")

    def workers(self) -> list[int]:
        """The pids of the workers."""
        return [row["pid"] for row in self.state().workers()]

    # Looking at what it did

    def log(self, name: str | None = None, sid: str | None = None) -> list[Entry]:
        """The entries of the log: all, or those of one name, or one session. Gathered lines have their time."""
        if name == "session_end" and self.process.poll() is None:
            with contextlib.suppress(AssertionError, OSError, ValueError):
                wait_until(lambda: not self.state().gathered(), "no line of the log waits to be written", patient(0.5))
        entries = self._log.entries()
        return [entry for entry in entries if name in (None, entry.name) and sid in (None, entry.sid)]

    def endings(self) -> list[str]:
        """The endings of all sessions that are over, in their order."""
        return [entry.fields["ending"] for entry in self.log("session_end")]

    def wait_for_endings(self, count: int, seconds: float = PATIENCE) -> list[str]:
        """Waits until so many sessions are over; more than that is a failure."""
        wait_until(lambda: len(self.endings()) >= count, f"{count} sessions are over", seconds)
        endings = self.endings()
        assert len(endings) == count, endings
        return endings

    def wait_until_quiet(self) -> None:
        """Waits until no session lives, and each one that has ended has its line in the log."""
        wait_until(lambda: not self.sessions(), "the session table is empty")
        wait_until(lambda: not self.state().gathered(), "no line of the log waits to be written")

    # Its end

    def stop(self, command: str = "shutdown all") -> None:
        """Ends it and asserts that it leaves nothing behind. Also right if it has ended already."""
        if self._killed:
            return
        pids = self.workers() if self.process.poll() is None else []
        if self.process.poll() is None:
            with contextlib.suppress(ConnectionError):
                self.said(command)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError(f"{self.name} did not end within {PATIENCE} s of `{command}`") from None
        said = self.stderr.read_text()
        assert (code, said) == (0, ""), f"exit code {code}, standard error: {said!r}"
        wait_until(lambda: not any(map(_lives, pids)), f"no worker is left of {pids}")
        self.assert_nothing_is_left()

    def kill_master(self) -> list[int]:
        """kill -9 of the master alone. Gives its workers, which are left to go by themselves."""
        self._orphans = processes.tree(self.pid)[1:]
        self.process.kill()
        self.process.wait(PATIENCE)
        self._killed = True
        return self._orphans

    def assert_nothing_is_left(self) -> None:
        """No socket, lock, pid file, state link or shared memory; and no line of level BUG in the log."""
        left = sorted(path.name for path in self.rundir.iterdir())
        assert left == [], f"left in the run directory: {left}"
        assert self._segment is None or not self._segment.exists(), f"{self._segment} is left"
        assert [entry.line for entry in self.log() if entry.level == "BUG"] == []

    def _kill(self) -> None:
        """After a failure: ends all its processes, whatever they do, and removes its shared memory."""
        self._killed = True
        self._find_segment()
        pids = [self.pid, *self._orphans]
        with contextlib.suppress(OSError, ValueError):
            pids += [] if self._orphans else self.workers()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        if self._segment is not None:
            self._segment.unlink(missing_ok=True)
        shutil.rmtree(self.rundir, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
