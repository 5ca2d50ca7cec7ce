"""Networks that are believed or let in: `192.0.2.0/24,2001:db8::/32,198.51.100.7`, a kind of the control language."""

import ipaddress
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton

from supervisor.control.language.kinds import Kind, String, shown
from supervisor.control.language.lookups import Lookups, Unfit

MOST_NETWORKS = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Networks:
    """Networks, as they were typed and as they are."""

    typed: str = ""
    networks: tuple[Network, ...] = ()

    def __str__(self) -> str:
        return self.typed

    def __bool__(self) -> bool:
        return bool(self.networks)

    def __contains__(self, address: str) -> bool:
        """Whether one of them holds the address (numeric text); ::ffff:192.0.2.1 is 192.0.2.1."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(parsed in network for network in self.networks)


@dataclass(frozen=True)
class NetworkList(Kind):
    """Networks or addresses, with commas and no blanks between them; "" for none."""

    def describe(self) -> str:
        return "Networks"

    def parse(self, text: str, lookups: Lookups) -> Networks:
        words = String().parse(text, lookups).split(",") if text else []
        if len(words) > MOST_NETWORKS:
            raise Unfit(f"{len(words)} networks are too many; allowed: {MOST_NETWORKS}")
        return Networks(text, tuple(_network(word) for word in words))


_MAPPED_BITS = 96
"""In front of the IPv4 address, in ::ffff:192.0.2.1."""
_MAPPED = bytes(10) + b"\xff\xff"
"""Those bits."""


def octets_of(address: str) -> bytes:
    """The 4 or 16 octets of an address (numeric text); ::ffff:192.0.2.1 is 192.0.2.1. For who looks often."""
    if ":" not in address:
        return inet_pton(AF_INET, address)
    return inet_pton(AF_INET6, address.partition("%")[0]).removeprefix(_MAPPED)


def plain(network: Network) -> Network:
    """::ffff:192.0.2.0/120 is 192.0.2.0/24: so clients from there are known."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def _network(word: str) -> Network:
    try:
        return plain(ipaddress.ip_network(word))
    except ValueError:
        pass
    try:
        meant = f'; did you mean "{ipaddress.ip_network(word, strict=False)}"?'
    except ValueError:
        meant = ""
    raise Unfit(f"{shown(word)} is not a network{meant}; allowed: 192.0.2.0/24, 2001:db8::/32, or an address")


LOOPBACK = NetworkList().parse("127.0.0.0/8,::1", Lookups())
"""This host."""
