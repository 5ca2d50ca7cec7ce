"""ringd's keeper in the process of the test, and peers that talk to it, all on one loop."""

import os
import socket
from pathlib import Path

from supervisor.ringd.keeper import Keeper, name_of
from supervisor.ringd.link import Link
from supervisor.ringd.main import ports
from supervisor.ringd.wire import Claim, Denied, Granted, Message, name_of_end
from supervisor.runtime.log import Log
from supervisor.runtime.loop import Loop
from supervisor.sockets.listener import Address
from tests.supervisor.turning import turn_until
from tests.system.site import LOOPBACK, log_entries


class Console:
    """A keeper at a socket of its own, and peers that talk to it."""

    def __init__(self, loop: Loop, directory: Path, allowed: str = "1-65535", keep: float = 0.0) -> None:
        self.loop = loop
        self.path = directory / "ringd.ctrl"
        self.logfile = directory / "ringd.log"
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._control.bind(str(self.path))
        self._control.listen()
        log = Log("ringd", str(self.logfile))
        self.keeper = Keeper(loop, log, self._control, uid=os.getuid(), ports=ports(allowed), keep=keep)
        self.peers: list[Peer] = []

    def peer(self, program: str = "") -> "Peer":
        """One more program; without a name it is one of an older release."""
        peer = Peer(self, program)
        self.peers.append(peer)
        return peer

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.keeper.close()
        self._control.close()

    def log(self, name: str) -> list[dict[str, str]]:
        return [entry.fields for entry in log_entries(self.logfile) if entry.name == name]


class Peer:
    """A program that holds sockets."""

    def __init__(self, console: Console, program: str) -> None:
        self._loop = console.loop
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if program:
            self.end.bind(name_of_end(program))
        self.end.connect(str(console.path))
        self.lost: str | None = None
        self.heard: list[tuple[Message, int]] = []
        self.sockets: list[socket.socket] = []
        self.link = Link(console.loop, self.end, self._hear, lost=self._lose)

    def _hear(self, message: Message, sequence: int, sockets: list[socket.socket]) -> None:
        self.heard.append((message, sequence))
        self.sockets += sockets

    def _lose(self, fault: str) -> None:
        self.lost = fault

    def claim(self, port: int, wanted: int = 1, backlog: int = 8) -> list[int]:
        """The names of the sockets of a port on loopback, or none if they are denied."""
        before, count = len(self.heard), len(self.sockets)
        self.link.send(Claim(loopback(port), wanted, backlog), 7)
        turn_until(self._loop, lambda: len(self.heard) > before and _is_last(self.heard[-1][0]))
        return [name_of(one) for one in self.sockets[count:]]

    def wait_for_loss(self) -> None:
        turn_until(self._loop, lambda: self.lost is not None)

    def close(self) -> None:
        if not self.link.closed:
            self.link.close()
        for one in self.sockets:
            one.close()
        self.sockets = []


def _is_last(message: Message) -> bool:
    return isinstance(message, Denied) or message == Granted(0)


def loopback(port: int) -> Address:
    return Address(int(socket.AF_INET), (LOOPBACK, port), False)


def is_open(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
