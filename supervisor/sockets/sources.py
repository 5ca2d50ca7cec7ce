"""Where listening sockets come from: bound by the master itself, or lent by somebody who outlives it (ringd, see
`supervisor/ringd/client.py`; systemd, see `systemd.py`).
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from supervisor.runtime.loop import Loop
from supervisor.runtime.together import together
from supervisor.sockets.listener import Address, Listener, ListenerCopy
from supervisor.sockets.silence import silence

KEEPALIVE_IDLE_SECONDS = 120
HALF_OPEN_SECONDS = 0.3
"""How long a handshake that is half done may take before a silenced queue is emptied for the last time."""
USER_TIMEOUT_MS = 120_000
"""How long sent data may stay unacknowledged (RFC 5482). Both are inherited by accepted connections."""

_CLOSING_SECONDS = 5.0
"""So long a port that was given up may still be open for our sake."""

Opened = Callable[[list[list[socket.socket]] | None, str], None]
"""Called once: for each copy its sockets, or None and the reason for people.

A copy has one socket, and more where a forerunner had more slots: clients wait in those too, so somebody has to accept
from them. Where the forerunner had fewer, several copies have the same socket.
"""

_T = TypeVar("_T")


class Source(Protocol):
    """Opens sockets, all that are asked for or none."""

    shared: bool
    """Whether the sockets outlive this program: its end then closes its copies, and silences none."""

    def attach(self, loop: Loop) -> None:
        """Called once, before anything else."""

    def open(self, copies: Sequence[ListenerCopy], backlog: int, opened: Opened) -> None:
        """Gets listening sockets for each copy; answers now or later. They are the caller's to close."""

    def silence(self, copies: Sequence[ListenerCopy], sockets: Sequence[socket.socket]) -> None:
        """The configuration is about to give these up: no new connection is begun, unless others hold them too."""

    def give_up(self, copies: Sequence[ListenerCopy]) -> None:
        """The configuration does not want these any more. The caller has closed its sockets."""

    def let_go(self) -> None:
        """This program accepts nothing more, but the next one may."""


class Binding:
    """The master's own: bind and listen.

    The kernel lets two programs of one user share a port where both set SO_REUSEPORT, and each gets half of the
    clients: an upgrade, or a slip. So who listens already at a port of which nothing is ours yet is told.
    """

    shared = False

    def __init__(self, tell_shared: Callable[[Address], None] = lambda _address: None) -> None:
        """`tell_shared` hears of an address at which another program listens, too."""
        self._tell_shared = tell_shared
        self._held: set[ListenerCopy] = set()
        self._given_up: dict[int, float] = {}
        """Ports, and when that was."""

    def attach(self, loop: Loop) -> None:
        """Nothing to do: nobody is asked for sockets."""

    def open(self, copies: Sequence[ListenerCopy], backlog: int, opened: Opened) -> None:
        """See Source; answers at once."""
        sockets: list[socket.socket] = []
        faults: list[str] = []
        ours = self._our_ports()
        for address in dict.fromkeys(Address.of(listener) for listener, _slot in copies):
            if address.address[1] not in ours:
                self._look_who_listens(address)
        for listener, _slot in copies:
            try:
                sockets.append(listen(Address.of(listener), backlog))
            except OSError as error:
                faults.append(explain(listener, error))
        if faults:
            for one in sockets:
                one.close()
            opened(None, together(faults))
            return
        self._held |= set(copies)
        opened([[one] for one in sockets], "")

    def _our_ports(self) -> set[int]:
        """Ports on which we listen, or did until a moment ago: systemd closes what it stored when it has read that."""
        lately = time.monotonic() - _CLOSING_SECONDS
        self._given_up = {port: when for port, when in self._given_up.items() if when > lately}
        return {listener.address[1] for listener, _slot in self._held} | self._given_up.keys()

    def _look_who_listens(self, address: Address) -> None:
        """Whatever is wrong here, to open it shows: it may be somebody with whom it cannot be shared."""
        try:
            try_alone(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                self._tell_shared(address)

    def silence(self, copies: Sequence[ListenerCopy], sockets: Sequence[socket.socket]) -> None:  # noqa: ARG002
        """See Source; nobody else holds them."""
        for one in sockets:
            silence(one)

    def give_up(self, copies: Sequence[ListenerCopy]) -> None:
        """See Source; the caller has closed them."""
        gone = self._held.intersection(copies)
        self._held -= gone
        self._given_up |= {listener.address[1]: time.monotonic() for listener, _slot in gone}

    def let_go(self) -> None:
        """Nothing to do: the sockets end with this program."""


def duplicate(listening: socket.socket) -> socket.socket:
    """Another descriptor of the same socket. Not `dup`: that sets the mode of all copies, here to blocking."""
    return socket.socket(fileno=os.dup(listening.fileno()))


def deal(sockets: Sequence[_T], copies: int) -> list[list[_T]]:
    """Spreads sockets (at least one) over copies (at least one): each socket has a copy, each copy a socket."""
    if len(sockets) < copies:
        return [[sockets[copy % len(sockets)]] for copy in range(copies)]
    return [list(sockets[copy::copies]) for copy in range(copies)]


def listen(address: Address, backlog: int) -> socket.socket:
    """A non-blocking listening socket of the address's reuse-port group. Raises OSError."""
    opened = _unbound(address)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted connections inherit these from the listening socket (Linux), which saves four system calls each.
        keep_alive(opened)
        opened.bind(address.address)
        opened.listen(backlog)
    except OSError:
        opened.close()
        raise
    return opened


def try_alone(address: Address) -> None:
    """Binds an address for a moment, without SO_REUSEPORT: raises OSError also if a program of this user listens there.

    By SO_REUSEADDR connections that are left of a program that has ended, living or in TIME_WAIT, do not count.
    """
    with _unbound(address) as probe:
        probe.bind(address.address)


def _unbound(address: Address) -> socket.socket:
    unbound = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    unbound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address.family == socket.AF_INET6:
        unbound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.dual_stack else 1)
    return unbound


def keep_alive(connection: socket.SocketType) -> None:
    """SO_KEEPALIVE, as POPular 1.5 set it on every TCP socket, with times that suit middle boxes, and TCP_NODELAY."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def explain(listener: Listener, error: OSError) -> str:
    """Why a listener cannot listen, for people."""
    where = f"{listener.address[0]} port {listener.address[1]}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{listener.name}: {where} is in use by another program"
        case errno.EADDRNOTAVAIL:
            return f"{listener.name}: {listener.address[0]} is not an address of this host"
        case errno.EACCES:
            return f"{listener.name}: {where} needs the right to bind ports below 1024"
        case _:
            return f"{listener.name}: cannot listen on {where}: {os.strerror(error.errno or 0)}"
