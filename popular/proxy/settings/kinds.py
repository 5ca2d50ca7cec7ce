"""Kinds that only the proxy has: a host whose name counts, a fingerprint.

Their values are more than the word that was typed, and `str` of a value is that word: it is what `show` prints.
"""

import ipaddress
import re
from dataclasses import dataclass

from supervisor.control.language.kinds import Host, Int, Kind, shown
from supervisor.control.language.lookups import Lookups, Unfit

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
"""Labels and length as RFC 1035 section 2.3.4 has them; Python's ssl takes no longer ones either."""
_LONGEST_HOST_NAME = 253


USER_NAMESPACE = "USER"
"""As a vserv's namespace: the client names its own, `USER name=namespace`."""

MOST_HOSTS = 4
"""Addresses of one backend."""


@dataclass(frozen=True)
class ResolvedHost:
    """A host as it was typed, and its address as numeric text; both "" where none was given. `further`: where the same
    is to be had if not there, the most preferred first.
    """

    name: str = ""
    address: str = ""
    further: tuple["ResolvedHost", ...] = ()

    def __str__(self) -> str:
        return ",".join(one.name for one in self.all) if self.further else self.name

    @property
    def all(self) -> tuple["ResolvedHost", ...]:
        """Each of them; none if none was given."""
        return (self, *self.further) if self.address else ()

    @property
    def places(self) -> tuple["ResolvedHost", ...]:
        """Those with an address of their own, in order: names that stand for one address are one place."""
        first = {one.address: one for one in reversed(self.all)}
        return tuple(one for one in self.all if first[one.address] is one)

    @property
    def doubles(self) -> tuple["ResolvedHost", ...]:
        """The other ones."""
        return tuple(one for one in self.all if one not in self.places)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of all places; none if none was given."""
        return tuple(one.address for one in self.places)


def plain_address(address: str) -> str:
    """As the kernel takes it: ::ffff:192.0.2.7 is 192.0.2.7. "" for one that stands for each of this host's (0.0.0.0,
    ::), to which no server can be told from us.
    """
    found = ipaddress.ip_address(address)
    plain = (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
    return "" if plain.is_unspecified else str(plain)


@dataclass(frozen=True)
class ServerHost(Kind):
    """Host names or addresses of one server; "" for none yet. A name is resolved now, once, and stays known.

    None may be said twice; that two names stand for one address is for the name servers to say, and no mistake.
    """

    def describe(self) -> str:
        return "Hosts"

    def parse(self, text: str, lookups: Lookups) -> ResolvedHost:
        if not text:
            return ResolvedHost()
        names = [name.strip() for name in text.split(",")]
        if "" in names or len(names) > MOST_HOSTS:
            raise Unfit(f"{shown(text)} does not fit; allowed: up to {MOST_HOSTS} hosts, with commas, the best first")
        known = [name.lower().rstrip(".") for name in names]
        for name in known:
            if known.count(name) > 1:
                raise Unfit(f"{shown(text)}: {name} is there twice")
        first, *further = (ResolvedHost(name, _address_of(name, lookups)) for name in names)
        return ResolvedHost(first.name, first.address, tuple(further))


def _address_of(name: str, lookups: Lookups) -> str:
    found = plain_address(Host().parse(name, lookups))
    if not found:
        raise Unfit(f"{shown(name)} is every address of this host; allowed: one of the server")
    return found


AUTO = "auto"


@dataclass(frozen=True)
class IntOrAuto(Kind):
    """A whole number, or AUTO for what follows from other things."""

    low: int
    high: int

    def describe(self) -> str:
        return f"{AUTO} or {Int(self.low, self.high).describe()}"

    def parse(self, text: str, lookups: Lookups) -> int | str:
        if text.lower() == AUTO:
            return AUTO
        try:
            return Int(self.low, self.high).parse(text, lookups)
        except Unfit:
            allowed = f"{AUTO}, or a whole number from {self.low} to {self.high}"
            raise Unfit(f"{shown(text)} does not fit; allowed: {allowed}") from None

    def complete(self, prefix: str) -> list[str]:
        return [AUTO] if AUTO.startswith(prefix.lower()) else []


@dataclass(frozen=True)
class HostName(Kind):
    """A host name or address that nobody looks up; "" for none."""

    def describe(self) -> str:
        return "String"

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        if text and not is_address(text) and not (len(text) <= _LONGEST_HOST_NAME and _HOST_NAME.fullmatch(text)):
            raise Unfit(f'{shown(text)} does not fit; allowed: a host name, an address, or ""')
        return text


@dataclass(frozen=True)
class OwnAddress(Kind):
    """An address of this host, as numeric text; "" for whichever the system takes. Nobody looks up a name for it."""

    def describe(self) -> str:
        return "Address"

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        if not text:
            return text
        if not is_address(text) or ipaddress.ip_address(text).is_unspecified:
            raise Unfit(f'{shown(text)} does not fit; allowed: an IPv4 or IPv6 address of this host, or ""')
        return str(ipaddress.ip_address(text))


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, not a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Fingerprint(Kind):
    """The SHA-256 of a certificate, in hexadecimal digits with or without colons; "" for none."""

    def describe(self) -> str:
        return "SHA256"

    def parse(self, text: str, lookups: Lookups) -> str:
        del lookups
        digits = text.lower().rpartition("=")[2].replace(":", "")  # openssl prints `sha256 Fingerprint=12:34:…`
        if text and not _SHA256.fullmatch(digits):
            raise Unfit(
                f'{shown(text)} does not fit; allowed: 64 hexadecimal digits, with or without colons, or "" for none '
                "(openssl x509 -noout -fingerprint -sha256 -in FILE prints them)"
            )
        return digits
