"""The ports and programs of a demo's site: chosen, started, watched, ended in order."""

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from popular.demo.contents import HOST, Ports
from supervisor.pcontrol.connection import Connection, NoConnection, TimedOut
from supervisor.runtime.httpaddress import HttpAddress

START_SECONDS = 30.0
END_SECONDS = 15.0
GLANCE_SECONDS = 0.1
"""How often it is looked whether something has happened."""
_PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)


class CannotRun(Exception):
    """The demo cannot start, or not go on; the text is for people."""


def choose_ports(pop3: int, pop3s: int, metrics: HttpAddress | None) -> Ports:
    """The wanted ports, if nobody has them, and two free ones. Raises CannotRun."""
    with contextlib.ExitStack() as probes:

        def probe(kind: socket.SocketKind, address: HttpAddress, option: str) -> HttpAddress:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            one = probes.enter_context(socket.socket(family, kind))
            # Without SO_REUSEPORT, which pproxy sets: two demos would share the port, and each get half of the clients.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(address)
                if kind == socket.SOCK_STREAM:
                    one.listen(1)
            except OSError as error:
                raise CannotRun(f"{address.host} port {address.port}: {error.strerror}; {option}") from None
            return HttpAddress(*one.getsockname()[:2])

        def wanted(address: HttpAddress, option: str) -> HttpAddress:
            return probe(socket.SOCK_STREAM, address, f"give another one with {option}")

        return Ports(
            wanted(HttpAddress(HOST, pop3), "--port").port,
            wanted(HttpAddress(HOST, pop3s), "--tls-port").port,
            probe(socket.SOCK_STREAM, HttpAddress(HOST, 0), "no port is free").port,
            check=probe(socket.SOCK_DGRAM, HttpAddress(HOST, 0), "no port is free").port,
            metrics=wanted(metrics, "--metrics") if metrics is not None else None,
        )


def program(name: str) -> Path:
    """A command that was installed together with us."""
    return Path(sys.executable).parent / name


def _die_with_parent() -> None:
    """In a child: if the demo is killed, this program is told to end (prctl(2))."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Site:
    """The programs that run, in the order in which they were started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.wanted = True
        """False as soon as a signal asks for the end."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._leave)

    def _leave(self, _number: int, _frame: object) -> None:
        self.wanted = False

    def start(self, name: str, *options: object) -> None:
        """Starts a program. It gets a process group of its own: Ctrl-C is for us, who end them in order."""
        words = [str(program(name)), "-l", str(self._directory / "log" / name), "-r", str(self._directory / "run")]
        try:
            child = subprocess.Popen(
                [*words, *map(str, options)],
                stdin=subprocess.DEVNULL,
                process_group=0,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise CannotRun(f"{words[0]}: {error.strerror}") from None
        self._children.append((name, child))

    def start_configured(self, name: str, commands: Sequence[str], *options: object) -> None:
        """Starts a program with a start configuration, and waits until all of it is in force."""
        rc = self._directory / f"{name}.rc"
        rc.write_text("".join(f"{command}\n" for command in commands))
        self.start(name, "-c", rc, *options)
        control = self._directory / "run" / f"{name}.ctrl"
        self.wait_until(lambda: _is_in_force(commands[-1], control), f"{name} did not get ready")

    def wait_until(self, ready: Callable[[], bool], complaint: str) -> None:
        """Waits for a program to be ready. Returns early if a signal comes; raises CannotRun if one ends."""
        deadline = time.monotonic() + START_SECONDS
        while self.wanted and not ready():
            self.check()
            if time.monotonic() > deadline:
                raise CannotRun(complaint)
            time.sleep(GLANCE_SECONDS)

    def check(self) -> None:
        """Raises CannotRun if a program has ended."""
        for name, child in self._children:
            if child.poll() is not None:
                raise CannotRun(f"{name} ended ({_cause(child.returncode)}); its log was {self._last_words(name)}")

    def _last_words(self, name: str) -> str:
        log = self._directory / "log" / name
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n  ".join(["", *lines[-5:]]) if lines else "empty"

    def deliver(self, mailbox: str, content: bytes) -> None:
        """Has pdeliver put a mail into a mailbox. Raises CannotRun."""
        words = [program("pdeliver"), "-m", self._directory / "mail", "-l", self._directory / "log" / "pdeliver"]
        done = subprocess.run([*map(str, words), mailbox], input=content, check=False, timeout=START_SECONDS)
        if done.returncode != 0:
            raise CannotRun(f"pdeliver ended ({_cause(done.returncode)})")

    def end(self) -> None:
        """Ends all programs, the last one first, so that nobody is sent to a program that is gone."""
        for _name, child in reversed(self._children):
            child.terminate()
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children = []


def _is_in_force(command: str, control: Path) -> bool:
    """Whether the program behind a control socket has carried out the last command of its start configuration."""
    try:
        connection = Connection(control, START_SECONDS)
    except NoConnection:
        return False
    try:
        words = command.split()[:3]
        return any(line.split()[:3] == words for line in connection.say("show config").lines)
    except (NoConnection, TimedOut):
        return False
    finally:
        connection.close()


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
