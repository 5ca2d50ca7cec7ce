"""`popular-demo`, really run: a user reads mail through it, and nothing is left when it is over."""

import contextlib
import os
import poplib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics import picture
from metrics.picture import Choice, Picture
from popular import demo
from tests.system.site import free_port, need

COMMAND = [sys.executable, "-m", "popular.demo"]
START_SECONDS = 40
END_SECONDS = 20


class Demo:
    """A running demo: its process, directory, port, and what it has printed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.lines: list[str] = []
        self.ready = threading.Event()
        self.process = subprocess.Popen(
            [*COMMAND, "--dir", str(directory), "--port", str(self.port), "--metrics", "off"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("The logs are in"):
                self.ready.set()
        self.ready.set()

    def wait_until_ready(self) -> None:
        assert self.ready.wait(START_SECONDS), self.lines
        assert self.process.poll() is None, "".join(self.lines)

    def wait_for_line(self, word: str) -> str:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for line in self.lines:
                if word in line:
                    return line
            time.sleep(0.05)
        raise AssertionError(f"no line with {word!r} in {self.lines}")

    def children(self) -> list[int]:
        """All processes below the demo."""
        found, parents = [], [self.process.pid]
        while parents:
            children = Path(f"/proc/{parents[0]}/task/{parents.pop(0)}/children")
            with contextlib.suppress(FileNotFoundError):
                born = [int(word) for word in children.read_text().split()]
                found += born
                parents += born
        return found

    def tables(self) -> list[Path]:
        """The shared memory of the two supervised programs."""
        found = [(self.directory / "run" / f"{name}.state").resolve() for name in ("pproxy", "pserv")]
        assert all(table.is_file() and table.parent == Path("/dev/shm") for table in found)
        return found

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(END_SECONDS)
        self.reader.join(5)
        return code

    def status(self, program: str) -> Picture:
        return picture.take(picture.candidates(None, program, str(self.directory / "run")), Choice())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def running(directory: Path) -> Iterator[Demo]:
    started = Demo(directory)
    try:
        started.wait_until_ready()
        yield started
    finally:
        if started.process.poll() is None:
            started.end(signal.SIGTERM)
        assert started.process.stdout is not None
        started.process.stdout.close()


@contextlib.contextmanager
def log_in(running: Demo, user: str) -> Iterator[poplib.POP3]:
    """A session of a user whose password is the name, closed at the end."""
    client = poplib.POP3("127.0.0.1", running.port, timeout=10)
    try:
        client.user(user)
        client.pass_(user)
        yield client
    finally:
        client.close()


def gone(pid: int) -> bool:
    """Whether a process is no more, or only waits to be reaped by somebody else."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + END_SECONDS
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.05)


def test_joe_reads_his_mail(running: Demo) -> None:
    """All mails that pdeliver put in come out, as they were, by RETR through proxy and storage server."""
    with log_in(running, "joe") as client:
        assert client.stat()[0] == len(demo.MAILS)
        for number, (subject, text) in enumerate(demo.MAILS, start=1):
            _reply, lines, _octets = client.retr(number)
            assert b"\n".join(lines) + b"\n" == demo.mail(subject, text)
        client.quit()
    running.wait_for_line("ending='quit'")
    assert running.status("pproxy").view.counters()["logins"] == 1


@pytest.mark.clients
def test_the_command_that_it_prints(running: Demo) -> None:
    """The curl command in the announcement prints the first mail."""
    line = running.wait_for_line("curl pop3://joe")
    done = subprocess.run(
        [need("curl"), *line.split()[1:], "-sS", "--max-time", "20"], capture_output=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.replace(b"\r\n", b"\n") == demo.mail(*demo.MAILS[0])


def test_ann_is_answered_by_the_proxy_alone(running: Demo) -> None:
    """An empty mailbox costs one mail check and no connection to the storage server: table and log show it."""
    with log_in(running, "ann") as client:
        assert client.stat() == (0, 0)
        (session,) = running.status("pproxy").sessions
        assert (session["user"], session["backend"], session["state"]) == ("ann", "store", "showing an empty mailbox")
        client.quit()
    story = running.wait_for_line("session_end")
    assert re.search(r" demo\.\d+\.\d+ INF 0300 session_end .* user='ann' .* ending='quit' ", story)
    counters = running.status("pproxy").view.counters()
    assert counters["simulated"] == 1
    assert counters["logins"] == 1
    assert counters["backend_logins"] == 0
    checks = counters["mail_checks"]
    assert isinstance(checks, dict)
    assert checks == {"empty": 1, "mail": 0, "load": 0, "unanswered": 0}
    assert running.status("pserv").view.counters()["sessions_started"] == 0, "pserv saw nobody"
    assert "session_end" not in (running.directory / "log" / "pserv").read_text()


def test_a_wrong_password_is_refused_and_shown(running: Demo) -> None:
    """The password file is really looked into, and the terminal tells of it."""
    client = poplib.POP3("127.0.0.1", running.port, timeout=10)
    client.user("joe")
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
        client.pass_("ann")
    client.quit()
    running.wait_for_line("login_failed")
    assert "argon2" in (running.directory / "passwd").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_nothing_behind(directory: Path, number: int) -> None:
    """Ctrl-C, TERM or HUP: exit code 0; no process, file, shared memory or port is left, even with a client there."""
    running = Demo(directory)
    assert running.process.stdout is not None
    with running.process.stdout:
        running.wait_until_ready()
        children = running.children()
        tables = running.tables()
        assert len(children) >= 5, "pserv, pproxy and a worker of each, and pcheckd"
        with log_in(running, "joe"):
            assert running.end(number) == 0, running.lines
        assert running.lines[-1] == "The site has ended.\n"
    wait_until_gone(children)
    assert not directory.exists()
    assert not [table for table in tables if table.exists()]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", running.port))


@pytest.mark.parametrize("name", ["pproxy", "pserv", "pcheckd"])
def test_a_program_that_crashes_ends_it(directory: Path, name: str) -> None:
    """A program that dies is named, everything else is ended, nothing is left: exit code 1."""
    running = Demo(directory)
    assert running.process.stdout is not None
    with running.process.stdout:
        running.wait_until_ready()
        children, tables = running.children(), running.tables()
        os.kill(int((directory / "run" / f"{name}.pid").read_text()), signal.SIGKILL)
        assert running.wait() == 1
    assert [line for line in running.lines if line.startswith(f"popular-demo: {name} ended (SIGKILL)")]
    wait_until_gone(children)
    assert not directory.exists()
    assert not [table for table in tables if table.exists()]


def test_a_killed_demo_takes_its_programs_along(directory: Path) -> None:
    """kill -9: the programs end too, and the next demo sweeps the directory and starts."""
    running = Demo(directory)
    assert running.process.stdout is not None
    with running.process.stdout:
        running.wait_until_ready()
        children = running.children()
        running.end(signal.SIGKILL)
    wait_until_gone(children)
    again = Demo(directory)
    assert again.process.stdout is not None
    with again.process.stdout:
        again.wait_until_ready()
        assert again.end() == 0
    assert not list(directory.iterdir()), "it did not make the directory this time: it stays, empty"


def test_the_port_is_in_use(directory: Path) -> None:
    """Also if the other one is a pproxy of the same user, with which the kernel would let it share the port."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--dir", directory, "--port", str(port)], capture_output=True, text=True, timeout=20, check=False
        )
    assert done.returncode == 1
    assert done.stderr == f"popular-demo: 127.0.0.1 port {port}: Address already in use; give another one with --port\n"
    assert not directory.exists()


@pytest.mark.parametrize("port", ["0", "65536", "pop3", "-1", ""])
def test_bad_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no port ends with code 2."""
    with pytest.raises(SystemExit) as stopped:
        demo.main(["--port", port])
    assert stopped.value.code == 2
    assert "is not a port from 1 to 65535" in capsys.readouterr().err


def test_a_directory_with_files_is_not_touched(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It never deletes what it did not make."""
    (directory / "mail").mkdir(parents=True)
    (directory / "mail" / "precious").write_text("x")
    assert demo.main(["--dir", str(directory), "--port", str(free_port())]) == 1
    assert f"{directory} is not empty" in capsys.readouterr().err
    assert (directory / "mail" / "precious").read_text() == "x"
    assert [path.name for path in directory.iterdir()] == ["mail"]


def test_a_second_demo_in_the_same_directory(running: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told so, and the first one goes on."""
    assert demo.main(["--dir", str(running.directory), "--port", str(free_port())]) == 1
    assert "a demo is running in" in capsys.readouterr().err
    with log_in(running, "joe") as client:
        assert client.stat()[0] == len(demo.MAILS)
