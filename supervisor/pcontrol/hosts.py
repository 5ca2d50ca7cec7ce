"""One command at several proxies, one after the other: `--hosts FILE`.

    px1  socket /var/run/popular/pproxy.ctrl
    px2  command ssh px2 pcontrol -p pproxy relay

A socket is one of this host. A command's standard input and output lead to a control socket elsewhere; what it may do
there is what its user may do there. The first that fails ends it: those after it were not asked, and it is told which.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisor.control.files.rcdisk import read_any, read_regular
from supervisor.control.files.rcfile import FileCommand, FileFault, UnreadableFile, load
from supervisor.control.words import scan, shown
from supervisor.pcontrol.connection import EXIT_DONE, Connection, NoConnection

_END_SECONDS = 5.0


class ControlTarget(NamedTuple):
    """A proxy: how it is called, and the socket or the command that leads to it."""

    name: str
    path: str = ""
    command: tuple[str, ...] = ()

    def connect(self, timeout_seconds: float) -> Connection:
        """Raises NoConnection."""
        if self.path:
            return Connection(Path(self.path), timeout_seconds)
        return CommandConnection(self.name, self.command, timeout_seconds)


class CommandConnection(Connection):
    """A connection through a command. What that says of itself goes to standard error."""

    def __init__(self, name: str, command: Sequence[str], timeout_seconds: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
            except OSError as error:
                ours.close()
                raise NoConnection(f"{name}: {command[0]}: {error.strerror}") from None
        super().__init__(Path(name), timeout_seconds, joined=ours)

    def close(self) -> None:
        """The command sees the end of its input, and ends; one that does not is ended, with all that it has started."""
        super().close()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_SECONDS)
        finally:  # also where Ctrl-C has ended the waiting
            if self._process.poll() is None:
                _kill_tree(self._process.pid)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_END_SECONDS)


def _kill_tree(root: int) -> None:
    """Kills a process and its descendants. It has no group of its own by which to do that: from another one than the
    terminal's ssh could not ask for a password.
    """
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            _state, parent, *_ = path.read_bytes().rpartition(b")")[2].split()
            children.setdefault(int(parent), []).append(int(path.parent.name))
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    for pid in tree:
        with suppress(OSError):  # it has ended; or is another user's, as sudo is
            os.kill(pid, signal.SIGKILL)


class FaultyHosts(Exception):
    """A file does not name proxies; `faults` are all that is wrong with it."""

    def __init__(self, faults: Sequence[FileFault]) -> None:
        super().__init__(faults)
        self.faults = faults


def hosts_in(name: str) -> list[ControlTarget]:
    """The proxies that a file names. Raises UnreadableFile, FaultyHosts."""
    hosts: dict[str, ControlTarget] = {}
    faults = []
    for command in load(name, read_any, read_regular).commands:
        found = command.fault or _host(command)
        if isinstance(found, ControlTarget) and found.name in hosts:
            found = FileFault(command.place, f"{shown(found.name)} is there twice")
        if isinstance(found, FileFault):
            faults.append(found)
        else:
            hosts[found.name] = found
    if faults:
        raise FaultyHosts(faults)
    if not hosts:
        raise UnreadableFile(f"{name}: it names no proxy")
    return [*hosts.values()]


def _host(command: FileCommand) -> ControlTarget | FileFault:
    match [str(word) for word in scan(command.text).words]:
        case [name, "socket", path] if path:
            return ControlTarget(name, path=path)
        case [name, "command", program, *words] if program:
            return ControlTarget(name, command=(program, *words))
    return FileFault(command.place, "not a proxy; allowed: NAME socket PATH, or NAME command WORD...")


def at_each(hosts: Sequence[ControlTarget], run: Callable[[ControlTarget], int], *, quiet: bool, json: bool) -> int:
    """Runs it at one after the other until one fails; returns the exit code of the last that was asked."""
    for place, host in enumerate(hosts):
        if not json:
            print(f"# {host.name}", flush=True)
        code = run(host)
        if code != EXIT_DONE:
            if not quiet:
                print(_where_it_ended(hosts, place), file=sys.stderr, flush=True)
            return code
    return EXIT_DONE


def _where_it_ended(hosts: Sequence[ControlTarget], place: int) -> str:
    done, rest = [host.name for host in hosts[:place]], [host.name for host in hosts[place + 1 :]]
    before, behind = ", ".join(done) or "none", ", ".join(rest) or "none"
    return f"pcontrol: failed: {hosts[place].name}; done before: {before}; not asked: {behind}"
