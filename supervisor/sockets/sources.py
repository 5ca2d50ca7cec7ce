"""Where listening sockets come from: bound by the master itself, or lent by somebody who outlives it (`ring.py`,
`systemd.py`).

`silence` makes a listening socket deaf to new connections without losing one that is under way: their first packet
(SYN) is dropped, and the client's kernel asks again a second later, when another socket listens or nobody does. What
was half open completes, what is complete waits in the queue to be accepted.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:  # ringd imports this file, and is to load as little as possible
    from supervisor.program import Listener
    from supervisor.runtime.loop import Loop

KEEPALIVE_IDLE_SECONDS = 120
HALF_OPEN_SECONDS = 0.3
"""How long a handshake that is half done may take before a silenced queue is emptied for the last time."""
USER_TIMEOUT_MS = 120_000
"""How long sent data may stay unacknowledged (RFC 5482). Both are inherited by accepted connections."""

ListenerCopy = tuple["Listener", int]
"""A listener and the slot whose worker accepts from its sockets."""

Opened = Callable[[list[list[socket.socket]] | None, str], None]
"""Called once: for each copy its sockets, or None and the reason for people.

A copy has one socket, and more where a forerunner had more slots: clients wait in those too, so somebody has to accept
from them. Where the forerunner had fewer, several copies have the same socket.
"""

_T = TypeVar("_T")


class Address(NamedTuple):
    """Where a socket listens, whatever the listener is called. `address` is what `bind` takes."""

    family: int
    address: tuple[str, int]
    dual_stack: bool

    @classmethod
    def of(cls, listener: "Listener") -> "Address":
        """Where a listener wants to listen."""
        return cls(listener.family, (listener.address[0], listener.address[1]), listener.dual_stack)

    @classmethod
    def found(cls, listening: socket.socket) -> "Address":
        """Where a socket listens. Raises OSError."""
        dual_stack = listening.family == socket.AF_INET6 and not listening.getsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        )
        host, port = listening.getsockname()[:2]
        return cls(int(listening.family), (host, port), dual_stack)


class Source(Protocol):
    """Opens sockets, all that are asked for or none."""

    shared: bool
    """Whether the sockets outlive this program: its end then closes its copies, and silences none."""

    def attach(self, loop: "Loop") -> None:
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
    """The master's own: bind and listen."""

    shared = False

    def attach(self, loop: "Loop") -> None:
        """See Source."""

    def open(self, copies: Sequence[ListenerCopy], backlog: int, opened: Opened) -> None:
        """See Source; answers at once."""
        sockets: list[socket.socket] = []
        for listener, _slot in copies:
            try:
                sockets.append(listen(Address.of(listener), backlog))
            except OSError as error:
                for one in sockets:
                    one.close()
                opened(None, explain(listener, error))
                return
        opened([[one] for one in sockets], "")

    def silence(self, copies: Sequence[ListenerCopy], sockets: Sequence[socket.socket]) -> None:  # noqa: ARG002
        """See Source; nobody else holds them."""
        for one in sockets:
            silence(one)

    def give_up(self, copies: Sequence[ListenerCopy]) -> None:
        """See Source; closing them was all."""

    def let_go(self) -> None:
        """See Source."""


def duplicate(listening: socket.socket) -> socket.socket:
    """Another descriptor of the same socket. Not `dup`: that sets the mode of all copies, here to blocking."""
    return socket.socket(fileno=os.dup(listening.fileno()))


def deal(sockets: Sequence[_T], copies: int) -> list[list[_T]]:
    """Spreads sockets (at least one) over copies (at least one): each socket has a copy, each copy a socket."""
    if len(sockets) < copies:
        return [[sockets[copy % len(sockets)]] for copy in range(copies)]
    return [list(sockets[copy::copies]) for copy in range(copies)]


def listen(copy: Address, backlog: int) -> socket.socket:
    """A non-blocking listening socket of the address's reuse-port group. Raises OSError."""
    opened = socket.socket(copy.family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if copy.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if copy.dual_stack else 1)
        # Accepted connections inherit these from the listening socket (Linux), which saves four system calls each.
        keep_alive(opened)
        opened.bind(copy.address)
        opened.listen(backlog)
    except OSError:
        opened.close()
        raise
    return opened


def keep_alive(connection: socket.SocketType) -> None:
    """What the manual asks of every TCP socket (SO_KEEPALIVE), with times that suit middle boxes, and TCP_NODELAY."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def _instruction(code: int, jump_true: int, jump_false: int, value: int) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value)


_NO_SYN = b"".join(
    (
        _instruction(0x30, 0, 0, 13),  # load the octet of flags of the TCP header
        _instruction(0x54, 0, 0, 0x12),  # of it, SYN and ACK
        _instruction(0x15, 0, 1, 0x02),  # SYN alone?
        _instruction(0x06, 0, 0, 0),  # yes: drop the packet
        _instruction(0x06, 0, 0, 0xFFFFFFFF),  # no: keep all of it
    )
)
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27


_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73
_MOST_HOPS = 255


def silence(listening: socket.socket) -> None:
    """New connections are not begun any more on this socket, whoever holds it.

    By a packet filter (socket(7)). Kernels of 2026 allow one on a TCP socket to CAP_NET_ADMIN only; where it is not
    allowed, packets have to come from no distance at all (IP_MINTTL 255, ip(7)), which those of mail programs do not.
    """
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    described = struct.pack("HL", len(_NO_SYN) // 8, ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except PermissionError:
        _demand_hops(listening, _MOST_HOPS)


def unsilence(listening: socket.socket) -> None:
    """New connections are begun again."""
    hear_all(listening)
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EPERM):  # it has no filter, or could not have got one
            raise


def hear_all(connection: socket.SocketType) -> None:
    """To be called for each accepted connection: one that was half open when its listening socket was silenced has
    inherited the deafness.
    """
    _demand_hops(connection, 0)


def _demand_hops(one: socket.SocketType, hops: int) -> None:
    one.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, hops)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, hops)


def explain(listener: "Listener", error: OSError) -> str:
    """Why a listener cannot listen, for people."""
    copy = f"{listener.address[0]} port {listener.address[1]}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{listener.name}: {copy} is in use by another program"
        case errno.EADDRNOTAVAIL:
            return f"{listener.name}: {listener.address[0]} is not an address of this host"
        case errno.EACCES:
            return f"{listener.name}: {copy} needs the right to bind ports below 1024"
        case _:
            return f"{listener.name}: cannot listen on {copy}: {os.strerror(error.errno or 0)}"
