"""Kinds that only the proxy has: a host whose name counts, a file of CA certificates, a fingerprint, networks.

Their values are more than the word that was typed, and `str` of a value is that word: it is what `show` prints.
"""

import ipaddress
import re
import ssl
from dataclasses import dataclass, field

from supervisor.control.kinds import File, Host, Int, Kind, String, shown
from supervisor.control.lookups import Lookups, Unfit

MOST_CA_OCTETS = 1 << 20
MOST_NETWORKS = 64
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
"""Labels and length as RFC 1035 section 2.3.4 has them; Python's ssl takes no longer ones either."""
_LONGEST_HOST_NAME = 253

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class ResolvedHost:
    """A host as it was typed, and its address as numeric text. Both "" where none was given."""

    name: str = ""
    address: str = ""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ServerHost(Kind):
    """A host name or address; "" for none yet. A name is resolved now, once, and stays known."""

    def describe(self) -> str:
        return "Host"

    def parse(self, text: str, lookups: Lookups) -> ResolvedHost:
        return ResolvedHost(text, Host(optional=True).parse(text, lookups))


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


def is_address(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, not a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Authorities:
    """CA certificates (PEM) and the file they were read from. Both "" for those of the system."""

    path: str = ""
    pem: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class CaFile(Kind):
    """A file of CA certificates, read now; "" for those of the system."""

    def describe(self) -> str:
        return "File"

    def parse(self, text: str, lookups: Lookups) -> Authorities:
        if not text:
            return Authorities()
        content = lookups.read(File().parse(text, lookups), MOST_CA_OCTETS + 1)
        if len(content) > MOST_CA_OCTETS:
            raise Unfit(f"{shown(text)} is too large; allowed: {MOST_CA_OCTETS} octets")
        if b"-----BEGIN CERTIFICATE-----" not in content or not content.isascii():
            raise Unfit(f"{shown(text)} holds no certificate in PEM form")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode())
        except ssl.SSLError as error:
            raise Unfit(f"{shown(text)} cannot be used: {error.reason or error}") from None
        return Authorities(text, content.decode())


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
        """Whether one of them holds the address (numeric text)."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
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


def _network(word: str) -> Network:
    try:
        return ipaddress.ip_network(word)
    except ValueError:
        pass
    try:
        meant = f'; did you mean "{ipaddress.ip_network(word, strict=False)}"?'
    except ValueError:
        meant = ""
    raise Unfit(f"{shown(word)} is not a network{meant}; allowed: 192.0.2.0/24, 2001:db8::/32, or an address")
