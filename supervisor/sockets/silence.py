"""Makes a listening socket deaf to new connections without losing one that is under way.

Their first packet (SYN) is dropped, and the client's kernel asks again a second later, when another socket listens or
nobody does. What was half open completes, what is complete waits in the queue to be accepted.
"""

import contextlib
import ctypes
import errno
import socket
import struct

from supervisor.system import IP_MINTTL, IPV6_MINHOPCOUNT


def _instruction(code: int, jump_true: int, jump_false: int, *, value: int) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, value)


_NO_SYN = b"".join(
    (
        _instruction(0x30, 0, 0, value=13),  # load the octet of flags of the TCP header
        _instruction(0x54, 0, 0, value=0x12),  # of it, SYN and ACK
        _instruction(0x15, 0, 1, value=0x02),  # SYN alone?
        _instruction(0x06, 0, 0, value=0),  # yes: drop the packet
        _instruction(0x06, 0, 0, value=0xFFFFFFFF),  # no: keep all of it
    )
)
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_GET_FILTER = 26

_MOST_HOPS = 255
_SAID_ALREADY = 1 << 16


def silence(listening: socket.socket) -> None:
    """New connections are not begun any more on this socket, whoever holds it.

    By a packet filter (socket(7)). Kernels of 2026 allow one on a TCP socket to CAP_NET_ADMIN only; where it is not
    allowed, packets have to come from no distance at all (IP_MINTTL 255, ip(7)), which those of mail programs do not.
    A connection that was half open inherits that; `system.accept` takes it back.
    """
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    described = struct.pack("HL", len(_NO_SYN) // 8, ctypes.addressof(program))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
    except PermissionError:
        _demand_hops(listening, _MOST_HOPS)


def unsilence(listening: socket.socket) -> None:
    """New connections are begun again."""
    _demand_hops(listening, 0)
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EPERM):  # it has no filter, or could not have got one
            raise


def is_silenced(listening: socket.socket) -> bool:
    """Whether new connections are not begun on this socket, whoever has said so."""
    if listening.getsockopt(socket.IPPROTO_IP, IP_MINTTL) == _MOST_HOPS:
        return True
    try:
        listening.getsockopt(socket.SOL_SOCKET, _SO_GET_FILTER)
    except OSError:  # there is a filter, and no room for it in a number
        return True
    return False


def turn_away(listening: socket.socket) -> int:
    """Accepts whoever waits in the queue of a socket that is about to be closed, only to close; how many there were.

    Closing the socket itself would reset them.
    """
    count = 0
    with contextlib.suppress(OSError):  # the queue is empty, or there are no descriptors
        while True:
            fd, _peer = listening._accept()  # type: ignore[attr-defined]
            count += 1
            send_away(fd)
    return count


def send_away(fd: int) -> None:
    """Closes the connection of a client whom nobody has heard."""
    with socket.socket(fileno=fd) as connection, contextlib.suppress(OSError):
        connection.recv(_SAID_ALREADY, socket.MSG_DONTWAIT)  # what is not read at the end resets, too


def _demand_hops(one: socket.SocketType, hops: int) -> None:
    one.setsockopt(socket.IPPROTO_IP, IP_MINTTL, hops)
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT, hops)
