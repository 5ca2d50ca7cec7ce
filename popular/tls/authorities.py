"""CA certificates as the config holds them: a file's name and what was read of it, a kind of the control language; and
which of them nobody can come from.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from popular.tls.certificate import invalidity
from supervisor.control.kinds import File, Kind, shown
from supervisor.control.lookups import Lookups, Unfit
from supervisor.runtime.plural import count_of

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


def troubles_of(authorities: Authorities, now: float) -> Iterator[str]:
    """Which of them make nobody be believed, and why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities.pem)
    read = context.cert_store_stats()
    try:
        found = [(_subject(one), *_times(one)) for one in context.get_ca_certs()]
    except (ValueError, ssl.SSLError):  # OpenSSL believes some that Python cannot take apart
        found = []
    for subject, begins, ends in found:
        if why := invalidity(begins, ends, now):
            yield f"the CA certificate of {shown(subject)}: {why}; nobody who comes from it is believed"
    if leaves := read["x509"] - read["x509_ca"]:
        yield f"{count_of(leaves, 'certificate')} in it without CA:TRUE; nobody can come from such a one"


def _subject(one: Any) -> str:
    """Its last name, which is the common one as a rule."""
    names = [value for relative in one["subject"] for _, value in relative]
    return str(names[-1]) if names else ""


def _times(one: Any) -> tuple[int, int]:
    return ssl.cert_time_to_seconds(one["notBefore"]), ssl.cert_time_to_seconds(one["notAfter"])
