"""CA certificates as the config holds them: a file's name and what was read of it, a kind of the control language."""

import ssl
from dataclasses import dataclass, field

from supervisor.control.kinds import File, Kind, shown
from supervisor.control.lookups import Lookups, Unfit

MOST_CA_OCTETS = 1 << 20


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
