"""Servers that are not configured, and that a module may name all the same: `allow NET:PORT like BACKEND`. Pure."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from popular.pdm.contract import Authenticated, CannotTell, Provable, Refused, Route

_Routed: TypeAlias = Authenticated | Refused | Provable
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_SERVER = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<v4>[^:\[\]]*)):(?P<port>[0-9]{1,5})")


class BadServer(ValueError):
    """It is no NET:PORT. The text says what is wanted."""


class Servers(NamedTuple):
    """Those in a network, with this port."""

    network: _Network
    port: int

    def __str__(self) -> str:
        net = str(self.network).removesuffix(f"/{self.network.max_prefixlen}")
        return f"[{net}]:{self.port}" if self.network.version == 6 else f"{net}:{self.port}"


def servers(text: str) -> Servers:
    """As "192.0.2.0/24:110" or "[2001:db8::/32]:110". Raises BadServer."""
    match = _SERVER.fullmatch(text)
    try:
        if match is None or not 0 < int(match["port"]) < 1 << 16:
            raise ValueError
        address = match["v4"] if match["v6"] is None else match["v6"]
        network = ipaddress.ip_network(address)
        if network.version != (4 if match["v6"] is None else 6):
            raise ValueError
    except ValueError:
        raise BadServer("NET:PORT is wanted, an IPv6 network in brackets") from None
    return Servers(network, int(match["port"]))


def placed(answer: object, allowed: Sequence[Servers], like: str) -> object:
    """The answer of a module, where it names a server instead of a backend: as one that is like a backend, if that is
    allowed; and else as CannotTell.
    """
    route = answer.route if isinstance(answer, (Authenticated, Refused, Provable)) else None
    if route is None or ":" not in route.backend:
        return answer
    why = _why_not(route.backend, allowed)
    if why or not like:
        return CannotTell(why or "it names a server, and `like` is not set")
    assert isinstance(answer, (Authenticated, Refused, Provable))
    return _with_route(answer, route._replace(backend=like, server=_address_and_port(route.backend)))


def _why_not(named: str, allowed: Sequence[Servers]) -> str:
    try:
        server = servers(named)
    except BadServer:
        return "it names a server, and not as ADDRESS:PORT"
    if any(
        server.port == some.port
        and server.network.version == some.network.version
        and server.network.network_address in some.network
        and server.network.num_addresses == 1
        for some in allowed
    ):
        return ""
    return f"it names the server {server}, which `pdm conf ID allow` does not allow"


def _address_and_port(named: str) -> tuple[str, int]:
    server = servers(named)
    return str(server.network.network_address), server.port


def _with_route(answer: _Routed, route: Route) -> _Routed:
    return replace(answer, route=route)
