"""The first message of a TLS client (RFC 8446 section 4.1.2), read before OpenSSL does: which server name, which ALPN.

    read_hello(what has come so far) → ClientHello, or how many octets must have come before it makes sense to ask again

Nothing is believed in here that OpenSSL does not check afterwards: a hello that makes no sense raises BadHello, and the
caller hands it to OpenSSL, which knows the right alert.
"""

import re
from typing import NamedTuple

HANDSHAKE = 22
MOST_OCTETS = 1 << 14
"""Of the whole ClientHello with its record headers; those of 2026, with post-quantum key shares, have about 2000."""
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


NOTHING_SAID = ClientHello("", None)


def read_hello(data: bytes) -> ClientHello | int:
    """Reads the beginning of a connection. An int says that so many octets are needed, always more than there are.

    Raises NotTls, BadHello.
    """
    message = b""
    position = 0
    for _ in range(_MOST_RECORDS):
        if data[position : position + 1] not in (b"", b"\x16") or data[position + 1 : position + 2] not in (b"", b"\3"):
            raise BadHello("another record within the ClientHello") if position else NotTls("no TLS was spoken")
        fragment = position + _RECORD_HEAD
        if len(data) < fragment:
            return fragment
        position = fragment + int.from_bytes(data[fragment - 2 : fragment])
        if not fragment < position <= fragment + _LONGEST_FRAGMENT or position > MOST_OCTETS:
            raise BadHello("the ClientHello is too long, or a record of it is empty")
        if len(data) < position:
            return position
        message += data[fragment:position]
        if message[0] != _CLIENT_HELLO:
            raise BadHello("not a ClientHello")
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4]):
            return _parse(message[4 : 4 + int.from_bytes(message[1:4])])
    raise BadHello("the ClientHello is in too many pieces")


class _Fields:
    """Takes a structure apart from its front. Raises BadHello where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def take(self, count: int) -> bytes:
        if count > len(self.rest):
            raise BadHello("a field ends too early")
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets))

    def vector(self, length_octets: int) -> bytes:
        """What has its length in front."""
        return self.take(self.number(length_octets))


def _parse(body: bytes) -> ClientHello:
    fields = _Fields(body)
    fields.take(2 + 32)  # version, random
    for length_octets in (1, 2, 1):  # session id, cipher suites, compression methods
        fields.vector(length_octets)
    extensions = _Fields(fields.vector(2) if fields.rest else b"")
    server_name, alpn = "", None
    while extensions.rest:
        kind, content = extensions.number(2), _Fields(extensions.vector(2))
        if kind == _SERVER_NAME:
            server_name = _server_name(_Fields(content.vector(2)))
        elif kind == _ALPN:
            alpn = _protocols(_Fields(content.vector(2)))
    return ClientHello(server_name, alpn)


def _server_name(names: _Fields) -> str:
    """RFC 6066 section 3: the one host name of the list."""
    while names.rest:
        kind, name = names.number(1), names.vector(2).lower()
        if kind == _HOST_NAME:
            return name.decode("ascii") if len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) else ""
    return ""


def _protocols(protocols: _Fields) -> tuple[bytes, ...]:
    """RFC 7301 section 3.1."""
    offered: list[bytes] = []
    while protocols.rest:
        offered.append(protocols.vector(1))
    return tuple(offered)
