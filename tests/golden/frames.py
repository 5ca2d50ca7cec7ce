"""The packets of ringd, octet for octet: a program of one release speaks to the ringd of another."""

import socket
from collections.abc import Iterator

from supervisor.ringd.wire import Claim, Denied, Granted, Quiet, Release, Restore, encode
from supervisor.sockets.listener import Address

V4 = Address(socket.AF_INET, ("127.0.0.1", 110), False)
V6 = Address(socket.AF_INET6, ("2001:db8::1", 995), False)
BOTH = Address(socket.AF_INET6, ("::", 110), True)


def frames() -> Iterator[str]:
    """One of each kind."""
    for message in (
        Claim(V4, 2, 512),
        Claim(V6, 1, 5),
        Claim(BOTH, 4, 1024),
        Restore(V4, 512),
        Quiet((1, 1 << 40)),
        Release((7,)),
        Granted(3),
        Denied(13, "no"),
    ):
        yield f"{type(message).__name__} {encode(message, 258).hex()}"
