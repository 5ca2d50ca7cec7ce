"""A listening socket as a configuration wants it, and the address that it stands at."""

import socket
import struct
from typing import Any, NamedTuple

ANY = "ANY"
"""All addresses of the host, in the place of one."""
MAPPED_IPV4 = "::ffff:"
"""How an IPv4 client looks on a dual-stack socket; everybody else wants to see its IPv4 address."""
_TCP_INFO = struct.Struct("=24xII")
"""tcpi_unacked and tcpi_sacked: of a listening socket, who waits and how many can."""


class Listener(NamedTuple):
    """A listening socket that a config wants. `address` is what `bind` takes; `family` AF_INET or AF_INET6.

    `dual_stack` clears IPV6_V6ONLY. Two equal listeners are the same sockets: they are not opened anew. (The backlog
    is not part of it: a changed `backlog` counts for future listen calls only.)

    `spare` is 0 in a config; a worker that is lent several sockets of one listener tells them apart by it.
    """

    name: str
    family: int
    address: tuple[Any, ...]
    dual_stack: bool
    spare: int = 0

    @classmethod
    def at(cls, name: str, iface: str, port: int) -> "Listener":
        """On a numeric address; or on ANY: all addresses, of IPv6 and IPv4 by one socket where the host has both."""
        if iface == ANY:
            if socket.has_dualstack_ipv6():
                return cls(name, socket.AF_INET6, ("::", port), dual_stack=True)
            return cls(name, socket.AF_INET, ("0.0.0.0", port), dual_stack=False)
        return cls(name, socket.AF_INET6 if ":" in iface else socket.AF_INET, (iface, port), dual_stack=False)


ListenerCopy = tuple[Listener, int]
"""A listener and the slot whose worker accepts from its sockets."""


def queue_of(listening: socket.socket) -> tuple[int, int]:
    """How many wait at a listening socket, and how many can (tcp(7): TCP_INFO tells length and limit)."""
    waiting, limit = _TCP_INFO.unpack(listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32))
    return waiting, limit


class Address(NamedTuple):
    """Where a socket listens, whatever the listener is called. `address` is what `bind` takes."""

    family: int
    address: tuple[str, int]
    dual_stack: bool

    @classmethod
    def of(cls, listener: Listener) -> "Address":
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
