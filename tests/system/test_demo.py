"""`popular-demo`, really run: a user reads mail through it, and nothing is left when it is over."""

import contextlib
import os
import poplib
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from metrics import picture
from metrics.picture import Picture, SessionChoice
from popular import demo
from popular.demo import contents
from tests.patience import patient
from tests.system.site import free_port, need

COMMAND = [sys.executable, "-m", "popular.demo"]
START_SECONDS = patient(40)
END_SECONDS = patient(20)
CURL_DOES_NOT_TRUST = 60


class Demo:
    """A running demo: its process, directory, ports, and what it has printed. Use it in a `with` block."""

    def __init__(self, directory: Path, metrics: str = "off", command: Sequence[str] = COMMAND) -> None:
        self.directory = directory
        self.port = free_port()
        ports = ["--port", str(self.port), "--tls-port", str(free_port())]
        self.lines: list[str] = []
        self.ready = threading.Event()
        self.process = subprocess.Popen(
            [*command, "--dir", str(directory), "--metrics", metrics, *ports],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def __enter__(self) -> "Demo":
        return self

    def __exit__(self, *_exception: object) -> None:
        """Whatever has failed: closed is what nobody reads any more, and so no test hangs on its reader's lock."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join(END_SECONDS)
        assert not self.reader.is_alive(), f"somebody still holds the demo's output: {self.lines}"
        assert self.process.stdout is not None
        self.process.stdout.close()

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

    def commands(self) -> list[str]:
        """The lines to try, as they were printed."""
        start = self.lines.index("Try, in another shell:\n") + 2
        return [line.strip() for line in self.lines[start : self.lines.index("\n", start)]]

    def shell(self, command: str, code: int = 0) -> str:
        """What a command prints; its messages too, for curl's are only about progress."""
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace("curl ", "curl -sS --max-time 20 ")],
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(30),
        )
        assert done.returncode == code, done.stderr
        return done.stdout if command.startswith("curl") else done.stdout + done.stderr

    def wait_for_line(self, word: str) -> str:
        deadline = time.monotonic() + patient(10)
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
        self.reader.join(patient(5))
        return code

    def status(self, program: str) -> Picture:
        return picture.take(picture.candidates(None, [program], str(self.directory / "run")), SessionChoice())


class Terminal:
    """A command in a terminal of its own, as a person has it."""

    def __init__(self, command: str) -> None:
        self._person, slave = os.openpty()
        termios.tcsetwinsize(slave, (30, 100))
        self._output = b""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", f"TERM=xterm exec {command}"], stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._person)

    def wait_for(self, word: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while word.encode() not in self._output:
            ready, _, _ = select.select([self._person], [], [], START_SECONDS)
            assert ready, self._output
            assert time.monotonic() < deadline, self._output
            self._output += os.read(self._person, 4096)

    def press(self, key: str) -> int:
        """Gives the exit code, when the command has ended at that."""
        os.write(self._person, key.encode())
        return self._process.wait(END_SECONDS)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def running(directory: Path) -> Iterator[Demo]:
    with Demo(directory) as started:
        started.wait_until_ready()
        yield started


@contextlib.contextmanager
def log_in(running: Demo, user: str) -> Iterator[poplib.POP3]:
    """A session of a user whose password is the name, closed at the end."""
    client = poplib.POP3("127.0.0.1", running.port, timeout=patient(10))
    try:
        client.user(user)
        client.pass_(user)
        yield client
    finally:
        client.close()


def free_ports() -> list[str]:
    return ["--port", str(free_port()), "--tls-port", str(free_port()), "--metrics", "off"]


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
        assert client.stat()[0] == len(contents.MAILS)
        for number, (subject, text) in enumerate(contents.MAILS, start=1):
            _reply, lines, _octets = client.retr(number)
            assert b"\n".join(lines) + b"\n" == contents.mail(subject, text)
        client.quit()
    running.wait_for_line("ending='quit'")
    assert running.status("pproxy").view.counters()["logins"] == 1


def mail(number: int) -> str:
    return contents.mail(*contents.MAILS[number]).decode()


@pytest.mark.clients
def test_every_command_that_it_prints(running: Demo) -> None:
    """Each does in a shell what it is for: joe's mails in clear and in TLS, nothing for ann by STLS, the table, apply.

    TLS is verified: curl believes the demo's authority, and without it nothing.
    """
    need("curl")
    plain, tls, stls, table, applied = running.commands()
    assert running.shell(plain) == mail(0)
    assert running.shell(tls) == mail(1)
    assert running.shell(stls) in ("", "\n"), "some curls show a lone line end for an empty list"
    assert running.shell(re.sub(r"--cacert \S+", "", tls), code=CURL_DOES_NOT_TRUST) == ""
    assert "vserv='pop3'" in running.wait_for_line("tls=''")
    assert "tls='TLSv1.3'" in running.wait_for_line("vserv='pop3s' namespace='demo' user='joe'")
    assert re.search(r"vserv='pop3' .* tls='TLSv1\.[23]'", running.wait_for_line("user='ann'"))
    with Terminal(table) as terminal:
        terminal.wait_for("0 sessions")
        assert terminal.press("q") == 0
    assert "nothing differs" in running.shell(applied)
    rc = running.directory / "pproxy.rc"
    rc.write_text(rc.read_text().replace("starttls optional", "starttls force"))
    running.shell(applied)
    with pytest.raises(poplib.error_proto, match="STLS"), log_in(running, "joe"):
        pass


def test_the_status_page_that_it_prints(directory: Path) -> None:
    """It is there, at the address that was printed."""
    with Demo(directory, metrics="127.0.0.1:0") as running:
        running.wait_until_ready()
        url = running.wait_for_line("its status page").split()[-1]
        with urllib.request.urlopen(url, timeout=patient(10)) as answer:
            assert b"<title>" in answer.read()


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
    client = poplib.POP3("127.0.0.1", running.port, timeout=patient(10))
    client.user("joe")
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
        client.pass_("ann")
    client.quit()
    running.wait_for_line("login_failed")
    assert "argon2" in (running.directory / "passwd").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_nothing_behind(directory: Path, number: int) -> None:
    """Ctrl-C, TERM or HUP: exit code 0; no process, file, shared memory or port is left, even with a client there."""
    with Demo(directory) as running:
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
    with Demo(directory) as running:
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
    with Demo(directory) as running:
        running.wait_until_ready()
        children = running.children()
        running.end(signal.SIGKILL)
    wait_until_gone(children)
    with Demo(directory) as again:
        again.wait_until_ready()
        assert again.end() == 0
    assert not list(directory.iterdir()), "it did not make the directory this time: it stays, empty"


@pytest.mark.parametrize(("option", "prefix"), [("--port", ""), ("--tls-port", ""), ("--metrics", "127.0.0.1:")])
def test_the_port_is_in_use(directory: Path, option: str, prefix: str) -> None:
    """Also if the other one is a pproxy of the same user, with which the kernel would let it share the port."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--dir", directory, *free_ports(), option, f"{prefix}{port}"],
            capture_output=True,
            text=True,
            timeout=patient(20),
            check=False,
        )
    assert done.returncode == 1
    complaint = f"127.0.0.1 port {port}: Address already in use; give another one with {option}"
    assert done.stderr == f"popular-demo: {complaint}\n"
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
    assert demo.main(["--dir", str(directory), *free_ports()]) == 1
    assert f"{directory} is not empty" in capsys.readouterr().err
    assert (directory / "mail" / "precious").read_text() == "x"
    assert [path.name for path in directory.iterdir()] == ["mail"]


def test_a_second_demo_in_the_same_directory(running: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told so, and the first one goes on."""
    assert demo.main(["--dir", str(running.directory), *free_ports()]) == 1
    assert "a demo is running in" in capsys.readouterr().err
    with log_in(running, "joe") as client:
        assert client.stat()[0] == len(contents.MAILS)
