"""Kinds that only the proxy has: a file of CA certificates.

Their values are more than the word that was typed, and `str` of a value is that word: it is what `show` prints.
"""

from dataclasses import dataclass, field

from supervisor.control.facts import Facts, Unfit
from supervisor.control.kinds import File, Kind, shown

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

    def parse(self, text: str, facts: Facts) -> Authorities:
        if not text:
            return Authorities()
        content = facts.read(File().parse(text, facts), MOST_CA_OCTETS + 1)
        if len(content) > MOST_CA_OCTETS:
            raise Unfit(f"{shown(text)} is too large; allowed: {MOST_CA_OCTETS} octets")
        if b"-----BEGIN CERTIFICATE-----" not in content or not content.isascii():
            raise Unfit(f"{shown(text)} holds no certificate in PEM form")
        return Authorities(text, content.decode())
