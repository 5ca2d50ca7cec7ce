"""Networks that are blocked: a list in shared memory that the master writes, and every worker obeys at once.

The number in front is odd while the master writes; a worker that sees another number than the last time reads the list
anew. As long as nobody is blocked, that number is all that a worker looks at.
"""

import ipaddress
import struct
from collections.abc import Mapping
from typing import TypeAlias

from supervisor.system import Shared

MOST_BLOCKED = 1024
BLOCKED = "block"
"""Their sort in what the operator has ordered."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_ROW = struct.Struct("<B7xd16s")
_VERSIONS = {4: 32, 6: 128}
_SIX = 64
"""Beside the length of an IPv6 network, which so is told apart from one of IPv4."""
_HEAD_OCTETS = 16
BLOCKED_OCTETS = _HEAD_OCTETS + MOST_BLOCKED * _ROW.size


class Blocked:
    """The list, for who reads it, and for the one who writes it. Times are seconds since 1970; 0: for ever."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self.head = Shared(memory[:_HEAD_OCTETS])
        """Its number, 0 as long as nobody was ever blocked; and how many networks there are."""
        self._known = 0
        self._by_length: dict[tuple[int, int], dict[int, float]] = {}
        """By version and how many bits are left out: each network's number, and until when."""

    def blocks(self, address: str, now: float) -> bool:
        """Whether an address (numeric text) is in a network that is blocked now."""
        self._look()
        if not self._by_length:
            return False
        parsed = ipaddress.ip_address(address.partition("%")[0])
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        number = int(parsed)
        for (version, rest), networks in self._by_length.items():
            until = networks.get(number >> rest) if version == parsed.version else None
            if until is not None and (not until or until > now):
                return True
        return False

    def listed(self) -> dict[Network, float]:
        """All of them, with their ends."""
        count = self.head.read(1)
        return dict(self._row(place) for place in range(count))

    def write(self, networks: Mapping[Network, float]) -> None:
        """Replaces the list; of the one process that may."""
        assert len(networks) <= MOST_BLOCKED
        number = self.head.read(0)
        self.head.write(0, number + 1)
        for place, (network, until) in enumerate(networks.items()):
            start = _HEAD_OCTETS + place * _ROW.size
            packed = network.network_address.packed.ljust(16, b"\0")
            marked = network.prefixlen if network.version == 4 else network.prefixlen + _SIX
            self._memory[start : start + _ROW.size] = _ROW.pack(marked, until, packed)
        self.head.write(1, len(networks))
        self.head.write(0, number + 2)

    def _look(self) -> None:
        """Reads the list, if it is another one; while it is being written the one before counts."""
        number = self.head.read(0)
        if number == self._known or number % 2:
            return
        found: dict[tuple[int, int], dict[int, float]] = {}
        for network, until in self.listed().items():
            rest = _VERSIONS[network.version] - network.prefixlen
            found.setdefault((network.version, rest), {})[int(network.network_address) >> rest] = until
        if self.head.read(0) == number:
            self._known, self._by_length = number, found

    def _row(self, place: int) -> tuple[Network, float]:
        start = _HEAD_OCTETS + place * _ROW.size
        marked, until, packed = _ROW.unpack(bytes(self._memory[start : start + _ROW.size]))
        if marked <= _VERSIONS[4]:
            return ipaddress.IPv4Network((packed[:4], marked)), until
        return ipaddress.IPv6Network((packed, min(marked - _SIX, 128))), until
