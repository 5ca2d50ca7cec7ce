"""What systemd passes and wants to be told: real descriptors in a real process, a real NOTIFY_SOCKET.

systemd itself does not take part: the tests do what it does, for pproxy.
"""

import array
import fcntl
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop
from supervisor.sockets import systemd
from supervisor.sockets.listener import Address, Listener, ListenerCopy
from supervisor.sockets.sources import Binding, listen
from supervisor.sockets.systemd import OUR_PREFIX, Activated, Notifier, Passed, inherited
from tests.patience import patient
from tests.supervisor.ringdesk import is_open, loopback
from tests.supervisor.turning import closed_loop, turn_until
from tests.system.site import LOOPBACK, STARTED, PopClient, Proxy, free_port, log_entries, program, wait_until

Datagram = tuple[dict[str, str], list[int]]


class Manager:
    """The service manager's end of NOTIFY_SOCKET, and its store."""

    def __init__(self, directory: Path, abstract: bool = False) -> None:
        self.path = f"\0{directory}" if abstract else str(directory / "notify")
        self.environment = {"NOTIFY_SOCKET": self.path.replace("\0", "@"), "FDSTORE": "512"}
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.bind(self.path)
        self.end.setblocking(False)
        self.heard: list[dict[str, str]] = []
        self.store: dict[str, list[int]] = {}

    def listen(self) -> list[dict[str, str]]:
        """All that has come so far; keeps the store as systemd does."""
        while True:
            try:
                text, ancillary, _flags, _address = self.end.recvmsg(4096, socket.CMSG_SPACE(4 * 250))
            except BlockingIOError:
                return self.heard
            said = dict(line.split("=", 1) for line in text.decode().split("\n"))
            fds = array.array("i")
            for _level, _kind, raw in ancillary:
                fds.frombytes(raw)
            self._keep(said, list(fds))
            self.heard.append(said)

    def _keep(self, said: dict[str, str], fds: list[int]) -> None:
        if "FDSTORE" in said:
            self.store.setdefault(said["FDNAME"], []).extend(fds)
        elif "FDSTOREREMOVE" in said:
            for fd in self.store.pop(said["FDNAME"]):
                os.close(fd)
        else:
            assert not fds

    def said(self, name: str) -> list[str]:
        return [one[name] for one in self.listen() if name in one]

    def close(self) -> None:
        self.listen()
        self.end.close()
        for fds in self.store.values():
            for fd in fds:
                os.close(fd)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closed_loop() as loop:
        yield loop


# Telling


@pytest.mark.parametrize("abstract", [False, True])
def test_words(tmp_path: Path, abstract: bool) -> None:
    """Each call is one datagram in systemd's words, to a path or an abstract name; line ends cannot be smuggled in."""
    manager = Manager(tmp_path, abstract)
    notifier = Notifier(manager.environment | {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
    assert notifier.ready()
    assert notifier.stopping()
    assert notifier.status("3 sessions\nREADY=0")
    assert notifier.alive()
    assert notifier.patience(1.5)
    assert manager.listen() == [
        {"READY": "1", "MAINPID": str(os.getpid())},
        {"STOPPING": "1"},
        {"STATUS": "3 sessions READY=0"},
        {"WATCHDOG": "1"},
        {"EXTEND_TIMEOUT_USEC": "1500000"},
    ]
    manager.close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "vsock:2:9"},
        {"NOTIFY_SOCKET": "/nobody/there"},
        {"NOTIFY_SOCKET": "/" + 200 * "x"},
        {"NOTIFY_SOCKET": "@nobody there"},
    ],
)
def test_nobody_to_tell(environment: dict[str, str]) -> None:
    """Every call says that nobody was told, and none raises."""
    notifier = Notifier(environment | {"WATCHDOG_USEC": "1", "FDSTORE": "1"})
    with socket.socket() as one:
        said = [notifier.ready(), notifier.alive(), notifier.store("x", [one]), notifier.unstore("x")]
    assert said == [False] * 4


def test_a_manager_that_does_not_read(manager: Manager) -> None:
    """A full queue is no reason to wait, which would be for ever."""
    notifier = Notifier(manager.environment)
    assert not all([notifier.ready() for _ in range(3000)])


@pytest.mark.parametrize(
    ("watchdog", "watched"),
    [({}, False), ({"WATCHDOG_USEC": "1"}, True), ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, False)],
)
def test_whose_watchdog(manager: Manager, watchdog: dict[str, str], watched: bool) -> None:
    """Only the process that it is for answers to the watchdog."""
    assert Notifier(manager.environment | watchdog).alive() is watched
    assert manager.said("WATCHDOG") == ["1"] * watched


# The source, in this process


def copies(port: int, slots: range, name: str = "v") -> list[ListenerCopy]:
    return [(Listener(name, int(socket.AF_INET), (LOOPBACK, port), dual_stack=False), slot) for slot in slots]


def opened(source: Activated, wanted: Sequence[ListenerCopy]) -> list[list[socket.socket]]:
    """Opens; they must come at once."""
    answers: list[list[list[socket.socket]] | None] = []
    source.open(wanted, 16, lambda sockets, _reason: answers.append(sockets))
    assert answers[0] is not None
    return answers[0]


def inodes(sockets: list[list[socket.socket]]) -> list[int]:
    return [os.fstat(one.fileno()).st_ino for ones in sockets for one in ones]


def close(sockets: list[list[socket.socket]]) -> None:
    for ones in sockets:
        for one in ones:
            one.close()


def test_what_was_passed_comes_first(tmp_path: Path) -> None:
    """A listener whose address was passed gets those sockets, spread over its slots; another one is bound. A unit's
    socket comes back as often as it is wanted, and is never made deaf.
    """
    port, other = free_port(), free_port()
    passed = [Passed("pop3.socket", listen(loopback(port), 5))]
    source = Activated(passed, Binding(), Notifier({}), log=Log("t", str(tmp_path / "log")))
    names = inodes([[passed[0].socket]])
    for _ in range(2):
        wanted = [*copies(port, range(3)), *copies(other, range(1), "w")]
        sockets = opened(source, wanted)
        assert inodes(sockets[:3]) == names * 3
        assert sockets[3][0].getsockname() == (LOOPBACK, other)
        source.silence(wanted, [one for ones in sockets for one in ones])
        close(sockets)
        source.give_up(wanted)
        assert is_open(port)
    assert not source.shared
    source.let_go()
    assert not is_open(port)


def test_the_store(manager: Manager, tmp_path: Path) -> None:
    """What is bound is stored at once, one name for each socket; what is given up is taken out again. The next start
    gets the sockets back, and gives them up in the same way.
    """
    port, gone = free_port(), free_port()
    log, notifier = Log("t", str(tmp_path / "log")), Notifier(manager.environment)
    source = Activated([], Binding(), notifier, log=log)
    assert source.shared
    kept, given_up = opened(source, copies(port, range(2))), opened(source, copies(gone, range(2), "w"))
    names = inodes(kept)
    manager.listen()
    assert len(manager.store) == 4
    close(given_up)
    source.give_up(copies(gone, range(2), "w"))
    manager.listen()
    assert sorted(manager.store) == sorted(f"{OUR_PREFIX}{port}-{name}" for name in names)
    assert not is_open(gone)
    close(kept)
    source.let_go()

    with socket.create_connection((LOOPBACK, port)):
        again = [Passed(name, socket.socket(fileno=os.dup(fds[0]))) for name, fds in manager.store.items()]
        source = Activated(again, Binding(), notifier, log=log)
        (sockets,) = opened(source, copies(port, range(1)))
        assert sorted(inodes([sockets])) == sorted(names)
        assert sum(_accepts(one) for one in sockets) == 1
        close([sockets])
        source.give_up(copies(port, range(1)))
    manager.listen()
    assert manager.store == {}
    assert not is_open(port)


def _accepts(listening: socket.socket) -> bool:
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_stored_and_not_wanted_any_more(
    manager: Manager, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored socket that no listener wants is closed after a while: nobody waits there in vain. A unit's is kept."""
    monkeypatch.setattr(systemd, "UNCLAIMED_SECONDS", 0.05)
    stored, unit, wanted = (listen(loopback(free_port()), 5) for _ in range(3))
    notifier, logfile = Notifier(manager.environment), tmp_path / "log"
    for name, one in (("listener-stored", stored), ("listener-wanted", wanted)):
        notifier.store(name, [one])
    manager.listen()
    passed = [Passed("listener-stored", stored), Passed("unit", unit), Passed("listener-wanted", wanted)]
    ports = [one.socket.getsockname()[1] for one in passed]
    source = Activated(passed, Binding(), notifier, log=Log("t", str(logfile)))
    source.attach(loop)
    close(opened(source, copies(ports[2], range(1))))
    turn_until(loop, lambda: logfile.exists() and len(log_entries(logfile)) == 2)
    assert {entry.fields["unit"] for entry in log_entries(logfile)} == {"listener-stored", "unit"}
    manager.listen()
    assert list(manager.store) == ["listener-wanted"]
    assert [is_open(port) for port in ports] == [False, True, True]
    source.let_go()


def test_only_listening_sockets_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other kinds and second copies are left; the names stay with their sockets, and the environment does not speak of
    them any more. What was passed to another process is left alone.
    """
    with socket.socket() as deaf, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        listening, unix = listen(loopback(free_port()), 5), socket.socket(socket.AF_UNIX)
        read_end, write_end = os.pipe()
        fds = [os.dup(one.fileno()) for one in (deaf, datagram, unix, listening, listening)] + [os.dup(read_end)]
        lowest = os.dup(0)
        row = list(range(lowest + 20, lowest + 20 + len(fds)))
        for fd, copy in zip(fds, row, strict=True):
            os.dup2(fd, copy)
            os.close(fd)
        for fd in (lowest, read_end, write_end):
            os.close(fd)
        unix.close()
        monkeypatch.setattr(systemd, "_FIRST_FD", row[0])
        environment = {"LISTEN_FDS": str(len(row)), "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b:c:d:e:f", "X": "y"}
        assert inherited(dict(environment)) == []
        environment["LISTEN_PID"] = str(os.getpid())
        passed = inherited(environment)
        assert [(one.name, Address.found(one.socket)) for one in passed] == [("d", Address.found(listening))]
        assert not passed[0].socket.get_inheritable()
        assert environment == {"X": "y"}
        for fd in set(row) - {passed[0].socket.fileno()}:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
        passed[0].socket.close()
        listening.close()


# A real pproxy

_SHIM = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
for position, fd in enumerate(fds):
    os.dup2(fd, 3 + position, inheritable=True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": sys.argv[2]}
os.execv(sys.argv[3], sys.argv[3:])
"""


class Unit:
    """A pproxy as systemd starts it."""

    def __init__(self, directory: Path, manager: Manager, rc: Sequence[str]) -> None:
        self.directory = directory
        self._manager = manager
        self._rc = directory / "pproxy.rc"
        self._rc.write_text("".join(f"{line}\n" for line in rc))

    def start(self, passed: dict[str, list[int]]) -> "subprocess.Popen[bytes]":
        fds = [fd for group in passed.values() for fd in group]
        names = ":".join(name for name, group in passed.items() for _ in group)
        high = [_above(fd) for fd in fds]
        command = [
            program("pproxy"),
            "-r",
            str(self.directory / "run"),
            "-l",
            str(self.directory / "pproxy.log"),
            "--metrics",
            "off",
        ]
        command += ["-w", "2", "-c", str(self._rc)]
        STARTED.add(self.directory / "run")
        process = subprocess.Popen(
            [sys.executable, "-c", _SHIM, ",".join(map(str, high)), names, *command],
            pass_fds=high,
            env=os.environ | self._manager.environment | {"WATCHDOG_USEC": "5000000"},
        )
        for fd in high:
            os.close(fd)
        return process

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGPWR)
        assert process.wait(patient(10)) == 0


def _above(fd: int) -> int:
    """A copy whose number is out of the way of those that are passed."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD, 100)


def test_a_service_that_is_restarted(manager: Manager, tmp_path: Path) -> None:
    """Started with a unit's socket and a listener of its own, stopped, started again: it says what it does, the store
    keeps its sockets, and clients that came in between are greeted by the next one.
    """
    unit_port, own_port = free_port(), free_port()
    with listen(loopback(unit_port), 16) as activated:
        lines = [f"vserv conf v{port} iface {LOOPBACK} port {port} state online" for port in (unit_port, own_port)]
        unit = Unit(tmp_path, manager, lines)
        process = unit.start({"pop3.socket": [activated.fileno()]})
        try:
            wait_until(lambda: manager.said("READY"), "it is ready")
            assert manager.said("MAINPID") == [str(process.pid)]
            assert len(manager.store) == 2, "one for each worker, of its own listener only"
            for port in (unit_port, own_port):
                with PopClient(port) as client:
                    assert client.line().startswith(b"+OK")
            wait_until(lambda: manager.said("WATCHDOG") and manager.said("STATUS"), "its loop turns")
            unit.stop(process)
            assert manager.said("STOPPING")

            with PopClient(unit_port) as first, PopClient(own_port) as second:
                process = unit.start(manager.store | {"pop3.socket": [activated.fileno()]})
                assert first.line().startswith(b"+OK")
                assert second.line().startswith(b"+OK")
            unit.stop(process)
        finally:
            process.kill()
            process.wait()
        assert [entry.line for entry in log_entries(tmp_path / "pproxy.log") if entry.level == "BUG"] == []


def test_a_drain_asks_for_patience(manager: Manager, tmp_path: Path) -> None:
    """While a session is waited for, the manager is told every second to wait longer than until the next second, and
    what for; a program that only runs asks for nothing.
    """
    port = free_port()
    unit = Unit(tmp_path, manager, [f"vserv conf v iface {LOOPBACK} port {port} state online"])
    process = unit.start({})
    try:
        wait_until(lambda: len(manager.said("STATUS")) > 1, "it runs")
        with PopClient(port) as client:
            assert client.line().startswith(b"+OK")
            assert manager.said("EXTEND_TIMEOUT_USEC") == []
            process.send_signal(signal.SIGPWR)
            wait_until(lambda: len(manager.said("EXTEND_TIMEOUT_USEC")) > 1, "it asks again")
            assert all(int(text) > 2_000_000 for text in manager.said("EXTEND_TIMEOUT_USEC"))
            wait_until(lambda: manager.said("STATUS")[-1].startswith("waiting for sessions; 1 session,"), "what for")
        assert process.wait(patient(10)) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["ringd", "pcheckd"])
def test_the_small_programs(manager: Manager, tmp_path: Path, name: str) -> None:
    """ringd and pcheckd tell when they serve and when they stop; ringd, whose loop has timers, that it turns."""
    command = [program(name), "-l", str(tmp_path / "log")]
    if name == "ringd":
        command += ["-s", str(tmp_path / "ringd.ctrl"), "-u", pwd.getpwuid(os.getuid()).pw_name]
    else:
        command += ["--nodaemon", "-m", str(tmp_path), "-r", str(tmp_path), "-h", LOOPBACK, "-p", str(free_port())]
    environment = os.environ | manager.environment | {"WATCHDOG_USEC": "5000000"}
    process = subprocess.Popen(command, env=environment)
    try:
        wait_until(lambda: manager.said("READY"), "it is ready")
        assert manager.said("MAINPID") == [str(process.pid)]
        if name == "ringd":
            wait_until(lambda: len(manager.said("WATCHDOG")) > 1, "its loop turns")
        process.terminate()
        assert process.wait(patient(10)) == 0
        assert manager.said("STOPPING") == ["1"]
    finally:
        process.kill()
        process.wait()


def test_without_systemd(tmp_path: Path) -> None:
    """Nothing is different where none of its variables is set."""
    port = free_port()
    with Proxy(tmp_path, [f"vserv conf v iface {LOOPBACK} port {port} state online"]), PopClient(port) as client:
        assert client.line().startswith(b"+OK")
    assert not is_open(port)
