"""What ringd and those that hold its sockets say to each other. Octets in, messages out.

Each message is one packet of a Unix SOCK_SEQPACKET socket, so that a message and its descriptors cannot be torn apart:
head (`RING`, version, kind, sequence number), then the kind's own fields, in network order. A socket is named by its
inode number, which both sides read off their own descriptor.

    holder → ringd   Claim     give me the sockets of this address; if I alone hold them, at least so many
                     Restore   ringd was restarted: these are sockets of this address that I hold (descriptors)
                     Quiet     I am about to give these up: silence those that nobody else holds
                     Release   I have given these up
    ringd → holder   Granted   sockets (descriptors), all of them after `remaining` more
                     Denied    the claim is refused, or (sequence 0) the connection

Which program a holder is says the name of its end of the connection (`name_of_end`), and no message: an older ringd,
and an older holder, know none.
"""

import errno
import re
import secrets
import socket
import struct
from typing import NamedTuple

from supervisor.sockets.listener import Address

VERSION = 1
MOST_FDS = 128
"""Descriptors of one packet; the kernel takes 253."""
MOST_NAMES = 128
"""Inode numbers of one packet."""
MOST_SOCKETS = 2048
"""Sockets of one address."""
MOST_BACKLOG = 1 << 20
LONGEST_TEXT = 200
LONGEST_PACKET = 2048

_MAGIC = b"RING"
_HEAD = struct.Struct("!4sBBI")
_ADDRESS = struct.Struct("!BBH16s")
_CLAIM = struct.Struct("!HI")
_RESTORE = struct.Struct("!I")
_GRANTED = struct.Struct("!H")
_DENIED = struct.Struct("!H")
_NAME = struct.Struct("!Q")
_END = re.compile(rb"\0popular-([a-z]+)-[0-9a-f]+")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def name_of_end(program: str) -> bytes:
    """What a holder's end of a connection is bound to: an abstract address, which is nobody else's."""
    return f"\0popular-{program}-{secrets.token_hex(8)}".encode()


def program_of(end: object) -> str:
    """Which program an end so called is of; "" if it has another name, or none."""
    match = _END.fullmatch(end) if isinstance(end, bytes) else None
    return match[1].decode() if match is not None else ""


class WireFault(ValueError):
    """A packet that is none of ours; the text says why."""


class Claim(NamedTuple):
    """Give me the sockets of this address."""

    address: Address
    wanted: int
    backlog: int


class Restore(NamedTuple):
    """I hold these sockets of this address. Comes with their descriptors."""

    address: Address
    backlog: int


class Quiet(NamedTuple):
    """I am about to give these up."""

    names: tuple[int, ...]


class Release(NamedTuple):
    """I have given these up."""

    names: tuple[int, ...]


class Granted(NamedTuple):
    """Sockets. Comes with their descriptors; `remaining` sockets follow in further packets."""

    remaining: int


class Denied(NamedTuple):
    """Refused. `number` is an errno, or 0 if only the text tells why."""

    number: int
    text: str


Message = Claim | Restore | Quiet | Release | Granted | Denied
_KINDS: tuple[type, ...] = (Claim, Restore, Quiet, Release, Granted, Denied)


def encode(message: Message, sequence: int = 0) -> bytes:
    """A packet. The caller keeps to the limits above."""
    return _HEAD.pack(_MAGIC, VERSION, _KINDS.index(type(message)) + 1, sequence) + _body(message)


def _body(message: Message) -> bytes:
    match message:
        case Claim(address, wanted, backlog):
            return _packed(address) + _CLAIM.pack(wanted, backlog)
        case Restore(address, backlog):
            return _packed(address) + _RESTORE.pack(backlog)
        case Quiet(names) | Release(names):
            assert len(names) <= MOST_NAMES
            return b"".join(map(_NAME.pack, names))
        case Granted(remaining):
            return _GRANTED.pack(remaining)
        case Denied(number, text):
            return _DENIED.pack(number) + text.encode()[:LONGEST_TEXT]


def decode(packet: bytes) -> tuple[Message, int]:
    """The message of a packet and its sequence number. Raises WireFault."""
    if len(packet) > LONGEST_PACKET:
        raise WireFault(f"a packet of {len(packet)} octets or more")
    if len(packet) < _HEAD.size:
        raise WireFault(f"a packet of {len(packet)} octets")
    magic, version, kind, sequence = _HEAD.unpack_from(packet)
    if magic != _MAGIC:
        raise WireFault("not a packet for ringd")
    if version != VERSION:
        raise WireFault(f"version {version} is spoken here as {VERSION} only")
    if not 1 <= kind <= len(_KINDS):
        raise WireFault(f"unknown kind {kind}")
    return _message(_KINDS[kind - 1], packet[_HEAD.size :]), sequence


def _message(kind: type, body: bytes) -> Message:
    if kind is Claim:
        address, (wanted, backlog) = _with_address(body, _CLAIM)
        return Claim(address, _within(wanted, 1, MOST_SOCKETS), _within(backlog, 0, MOST_BACKLOG))
    if kind is Restore:
        address, (backlog,) = _with_address(body, _RESTORE)
        return Restore(address, _within(backlog, 0, MOST_BACKLOG))
    if kind is Granted:
        (remaining,) = _fields(body, _GRANTED)
        return Granted(_within(remaining, 0, MOST_SOCKETS))
    if kind is Denied:
        (number,) = _fields(body[: _DENIED.size], _DENIED)
        return Denied(number, body[_DENIED.size :].decode(errors="replace")[:LONGEST_TEXT])
    names = _names(body)
    return Quiet(names) if kind is Quiet else Release(names)


def _names(body: bytes) -> tuple[int, ...]:
    if len(body) % _NAME.size or len(body) > MOST_NAMES * _NAME.size:
        raise WireFault(f"{len(body)} octets of names")
    return tuple(name for (name,) in _NAME.iter_unpack(body))


def _fields(body: bytes, form: struct.Struct) -> tuple[int, ...]:
    if len(body) != form.size:
        raise WireFault(f"{len(body)} octets where there should be {form.size}")
    return form.unpack(body)


def _within(value: int, lowest: int, highest: int) -> int:
    if not lowest <= value <= highest:
        raise WireFault(f"{value} where {lowest} to {highest} are allowed")
    return value


def _with_address(body: bytes, form: struct.Struct) -> tuple[Address, tuple[int, ...]]:
    fields = _fields(body[_ADDRESS.size :], form)
    version, dual_stack, port, packed = _ADDRESS.unpack(body[: _ADDRESS.size])
    if version not in _FAMILIES or dual_stack not in (0, 1) or (version == 4 and (dual_stack or any(packed[4:]))):
        raise WireFault("an address of no kind that is known")
    family = _FAMILIES[version]
    host = socket.inet_ntop(family, packed[: 4 if version == 4 else 16])
    return Address(int(family), (host, _within(port, 1, 65535)), bool(dual_stack)), fields


def _packed(address: Address) -> bytes:
    version = 4 if address.family == socket.AF_INET else 6
    host, port = address.address
    return _ADDRESS.pack(version, address.dual_stack, port, socket.inet_pton(address.family, host))


def is_sendable(address: Address) -> bool:
    """Whether an address can be written down here: no zones (`fe80::1%eth0`), no names, no port 0."""
    try:
        socket.inet_pton(address.family, address.address[0])
    except (OSError, UnicodeError):
        return False
    return 1 <= address.address[1] <= 65535


def denied(error: OSError) -> Denied:
    """The refusal that says what the system said."""
    number = error.errno or errno.EIO
    return Denied(number, error.strerror or "")
