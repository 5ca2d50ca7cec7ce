r"""The PROXY protocol's header, versions 1 and 2: read as far as it has come, and built. Pure.

    parse(b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 110\r\n…")     Header(length, source, destination)
    parse(b"PROXY TC")                                            None: more has to come, and all of this belongs to it
    build("v2", source, destination)

Source: HAProxy's "The PROXY protocol", sections 2.1 and 2.2. A header that names no TCP endpoints (LOCAL, UNKNOWN, UDP,
UNIX) is right, and says nothing about the client. Everything else raises BadHeader, as soon as it can be seen. The
fields after the addresses of version 2 (TLVs) are skipped, and its length is looked at before anything is waited for.
"""

import ipaddress
import re
import struct
from typing import NamedTuple

MOST_V1 = 107
"""Octets of a header of version 1, with its CRLF (section 2.1)."""
MOST_V2_REST = 536
"""Octets after the first 16 of version 2 that are taken: addresses (36) and TLVs."""
MOST = 16 + MOST_V2_REST
"""Octets of any header."""

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD = struct.Struct("!12sBBH")
_VERSION_2 = 0x20
_LOCAL, _PROXY = 0, 1
_TCP4, _TCP6 = 0x11, 0x21
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_MAPPED = "::ffff:"

Endpoint = tuple[str, int]
"""An address as numeric text, and a port."""


class BadHeader(Exception):
    """What came is no header; the text says why, in our own words."""


class Header(NamedTuple):
    """A whole header of `length` octets. Source and destination are None where it names no TCP connection."""

    length: int
    source: Endpoint | None
    destination: Endpoint | None


def parse(data: bytes) -> Header | None:
    """The header at the beginning of the data; None if it is not whole yet. Raises BadHeader."""
    if data[: len(_V1)] == _V1[: len(data)]:
        return _parse_v1(data)
    if data[: len(_V2)] == _V2[: len(data)]:
        return _parse_v2(data)
    raise BadHeader("no PROXY header")


def _parse_v1(data: bytes) -> Header | None:
    line, end, _ = data[:MOST_V1].partition(b"\r\n")
    if not end:
        if len(data) >= MOST_V1:
            raise BadHeader(f"a header of version 1 without end in {MOST_V1} octets")
        return None
    length = len(line) + len(end)
    words = line.decode("latin-1").split(" ")
    match words[1]:
        case "UNKNOWN":
            return Header(length, None, None)
        case "TCP4" | "TCP6" if len(words) == 6:
            kind = ipaddress.IPv4Address if words[1] == "TCP4" else ipaddress.IPv6Address
            source, destination = _address(kind, words[2]), _address(kind, words[3])
            return Header(length, (source, _port(words[4])), (destination, _port(words[5])))
    raise BadHeader("a header of version 1 that is none of TCP4, TCP6, UNKNOWN, or has too few or too many words")


def _address(kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], word: str) -> str:
    try:
        address = kind(word)
    except ValueError:
        raise BadHeader("an address that is none, or of the other family") from None
    if "%" in word:
        raise BadHeader("an address with a zone")
    return _without_mapping(address)


def _without_mapping(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An IPv4 address that came as IPv6 (::ffff:…) is shown as everywhere else: as IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _port(word: str) -> int:
    if not _PORT.fullmatch(word) or int(word) > 65535:
        raise BadHeader("a port that is none")
    return int(word)


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < _V2_HEAD.size:
        return None
    _, version_command, family, rest = _V2_HEAD.unpack_from(data)
    command = version_command - _VERSION_2
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("a header of version 2 with an unknown version or command")
    if rest > MOST_V2_REST:
        raise BadHeader(f"a header of version 2 with {rest} octets after its first 16; allowed: {MOST_V2_REST}")
    needed = {_TCP4: 12, _TCP6: 36}.get(family, 0) if command == _PROXY else 0
    if rest < needed:
        raise BadHeader("a header of version 2 that is too short for its addresses")
    length = _V2_HEAD.size + rest
    if len(data) < length:
        return None
    if not needed:
        return Header(length, None, None)
    return Header(length, *_endpoints(data[_V2_HEAD.size : _V2_HEAD.size + needed]))


def _endpoints(block: bytes) -> tuple[Endpoint, Endpoint]:
    size = (len(block) - 4) // 2
    source, destination, source_port, destination_port = struct.unpack(f"!{size}s{size}sHH", block)
    return (
        (_without_mapping(ipaddress.ip_address(source)), source_port),
        (_without_mapping(ipaddress.ip_address(destination)), destination_port),
    )


def build(version: str, source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """A header of "v1" or "v2" for a TCP connection; without endpoints, one that says that they are not known.

    Where one address is IPv4 and the other IPv6, the former is written as an IPv6 address (::ffff:…).
    """
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == "v1" else _V2_HEAD.pack(_V2, _VERSION_2 | _LOCAL, 0, 0)
    source_ip, destination_ip = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if source_ip.version != destination_ip.version:
        source_ip, destination_ip = _as_ipv6(source_ip), _as_ipv6(destination_ip)
    if version == "v1":
        words = f"TCP{source_ip.version} {source_ip} {destination_ip} {source[1]} {destination[1]}"
        return b"PROXY " + words.encode() + b"\r\n"
    family = _TCP4 if source_ip.version == 4 else _TCP6
    block = source_ip.packed + destination_ip.packed + struct.pack("!HH", source[1], destination[1])
    return _V2_HEAD.pack(_V2, _VERSION_2 | _PROXY, family, len(block)) + block


def _as_ipv6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return address if isinstance(address, ipaddress.IPv6Address) else ipaddress.IPv6Address(f"{_MAPPED}{address}")
