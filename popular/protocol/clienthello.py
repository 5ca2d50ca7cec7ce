"""The first message of a TLS client (RFC 8446 section 4.1.2), read before OpenSSL does: which server name, which ALPN.

    read_hello(what has come so far) → ClientHello, or how many octets must have come before it makes sense to ask again

Nothing is believed in here that OpenSSL does not check afterwards: a hello that makes no sense raises BadHello, and the
caller hands it to OpenSSL, which knows the right alert.
"""

import re
from typing import NamedTuple

from supervisor.octets import namedtuple_of

HANDSHAKE = 22
MOST_OCTETS = 1 << 14
"""How long a ClientHello may be, with its record headers; those of 2026, with post-quantum keys, have about 2000."""
_MOST_RECORDS = 8
_RECORD_HEAD = 5
_LONGEST_FRAGMENT = 1 << 14
_CLIENT_HELLO = 1
_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = 0
_NAME = re.compile(rb"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_LONGEST_NAME = 253

NO_APPLICATION_PROTOCOL = bytes([21, 3, 3, 0, 2, 2, 120])
"""The alert, as a record in clear (RFC 7301 section 3.2)."""


class NotTls(ValueError):
    """The client speaks something else."""


class BadHello(ValueError):
    """It looks like TLS and is no ClientHello that we can read."""


class ClientHello(NamedTuple):
    """`server_name` in lower case, "" if none was given or it is no host name; `alpn` is None if nothing is offered."""

    server_name: str
    alpn: tuple[bytes, ...] | None


NO_HELLO = ClientHello("", None)


def read_hello(data: bytes) -> ClientHello | int:
    """Reads the beginning of a connection. An int says that so many octets are needed, always more than there are.

    Raises NotTls, BadHello.
    """
    size = len(data)
    message = b""
    position = 0
    for _ in range(_MOST_RECORDS):
        fragment = position + _RECORD_HEAD
        if (position < size and data[position] != HANDSHAKE) or (position + 1 < size and data[position + 1] != 3):
            raise BadHello("another record within the ClientHello") if position else NotTls("no TLS was spoken")
        if size < fragment:
            return fragment
        position = fragment + (data[fragment - 2] << 8 | data[fragment - 1])
        if not fragment < position <= fragment + _LONGEST_FRAGMENT or position > MOST_OCTETS:
            raise BadHello("the ClientHello is too long, or a record of it is empty")
        if size < position:
            return position
        message = message + data[fragment:position] if message else data[fragment:position]
        if message[0] != _CLIENT_HELLO:
            raise BadHello("not a ClientHello")
        if len(message) >= 4:
            length = message[1] << 16 | message[2] << 8 | message[3]
            if len(message) - 4 >= length:
                return _parse(message, 4, 4 + length)
    raise BadHello("the ClientHello is in too many pieces")


def _past(data: bytes, at: int, octets: int, limit: int) -> int:
    """Where the vector ends whose length stands here, in so many octets. Raises BadHello if the limit comes before."""
    end = at + octets
    if end > limit:
        raise BadHello("a field ends too early")
    length = 0
    for place in range(at, end):
        length = length << 8 | data[place]
    end += length
    if end > limit:
        raise BadHello("a field ends too early")
    return end


def _parse(data: bytes, at: int, limit: int) -> ClientHello:
    """What stands between the two places. By places and not by pieces: a hello has a vector for each of 20 fields."""
    at += 2 + 32  # version, random
    at = _past(data, at, 1, limit)  # session id
    at = _past(data, at, 2, limit)  # cipher suites
    at = _past(data, at, 1, limit)  # compression methods
    server_name = ""
    alpn = None
    end = _past(data, at, 2, limit) if at < limit else 0
    at += 2
    while at < end:
        after = _past(data, at + 2, 2, end)
        kind = data[at] << 8 | data[at + 1]
        if kind == _SERVER_NAME:
            server_name = _server_name(data, at + 4, after)
        elif kind == _ALPN:
            alpn = _protocols(data, at + 4, after)
        at = after
    return namedtuple_of(ClientHello, (server_name, alpn))


def _server_name(data: bytes, at: int, limit: int) -> str:
    """RFC 6066 section 3: the one host name of the list."""
    end = _past(data, at, 2, limit)
    at += 2
    while at < end:
        after = _past(data, at + 1, 2, end)
        if data[at] == _HOST_NAME:
            name = data[at + 3 : after].lower()
            return name.decode("ascii") if len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) else ""
        at = after
    return ""


def _protocols(data: bytes, at: int, limit: int) -> tuple[bytes, ...]:
    """RFC 7301 section 3.1."""
    end = _past(data, at, 2, limit)
    at += 2
    offered: list[bytes] = []
    while at < end:
        after = _past(data, at, 1, end)
        offered.append(data[at + 1 : after])
        at = after
    return tuple(offered)
