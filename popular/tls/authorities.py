"""CA certificates as the config holds them: a file's name and what was read of it, a kind of the control language; and
which of them nobody can come from.

One that is signed by itself is believed by OpenSSL where it lies in such a file, without CA:TRUE, too: so the
certificate of one server, or client, is pinned.
"""

import base64
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from popular.tls.certificate import invalidity, pem_blocks
from supervisor.control.language.kinds import File, Kind, shown
from supervisor.control.language.lookups import Lookups, Unfit
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


def troubles_of(authorities: Authorities, now: float, *, of_clients: bool) -> Iterator[str]:
    """Which of them make nobody be believed, and why. `of_clients`: somebody believes clients by them, of whom one
    alone can come from what is signed by itself.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities.pem)
    try:
        found = [(_subject(one), *_times(one)) for one in context.get_ca_certs()]
    except (ValueError, ssl.SSLError):  # OpenSSL believes some that Python cannot take apart
        found = []
    for subject, begins, ends in found:
        if why := invalidity(begins, ends, now):
            yield f"the CA certificate of {shown(subject)}: {why}; nobody who comes from it is believed"
    leaves = [_leaf(der) for der in _all_in(authorities.pem) - set(context.get_ca_certs(binary_form=True))]
    pinned = [leaf for leaf in leaves if leaf.is_self_signed]
    for leaf in pinned:
        if why := invalidity(leaf.not_before, leaf.not_after, now):
            yield f"a self-signed certificate: {why}; it is not believed"
    if others := len(leaves) - len(pinned):
        yield f"{count_of(others, 'certificate')} in it without CA:TRUE; nobody can come from such a one"
    if pinned and of_clients:
        owned = count_of(len(pinned), "self-signed certificate")
        yield f"{owned} in it without CA:TRUE; only its owner is believed by it"


def _subject(one: Any) -> str:
    """Its last name, which is the common one as a rule."""
    names = [value for relative in one["subject"] for _, value in relative]
    return str(names[-1]) if names else ""


def _times(one: Any) -> tuple[int, int]:
    return ssl.cert_time_to_seconds(one["notBefore"]), ssl.cert_time_to_seconds(one["notAfter"])


class _Leaf(NamedTuple):
    """A certificate without CA:TRUE, as far as it is looked at; Python's ssl says nothing of such a one."""

    is_self_signed: bool
    not_before: float
    not_after: float


def _all_in(pem: str) -> set[bytes]:
    """Each certificate (DER), without what OpenSSL may add to one that it trusts."""
    found = (base64.b64decode(b"".join(block.splitlines()[1:-1])) for block in pem_blocks(pem.encode(), b"CERTIFICATE"))
    return {der[: _content(der, 0).stop] for der in found}


def _leaf(der: bytes) -> _Leaf:
    """RFC 5280 section 4.1. OpenSSL has read it already."""
    fields = list(_elements(der, _content(der, _content(der, 0).start)))
    if der[fields[0].start] == _VERSION:
        del fields[0]
    _serial, _algorithm, issuer, validity, subject = fields[:5]
    begins, ends = (_time(der[at]) for at in _elements(der, _content(der, validity.start)))
    return _Leaf(der[issuer] == der[subject], begins, ends)


_VERSION, _UTC_TIME = 0xA0, 0x17


def _content(der: bytes, at: int) -> slice:
    """Where the content is of the element that begins there."""
    begin, length = at + 2, der[at + 1]
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[at + 2 : begin], "big")
    return slice(begin, begin + length)


def _elements(der: bytes, within: slice) -> Iterator[slice]:
    at = within.start
    while at < within.stop:
        end = _content(der, at).stop
        yield slice(at, end)
        at = end


def _time(der: bytes) -> float:
    form = "%y%m%d%H%M%SZ" if der[0] == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(der[2:].decode(), form).replace(tzinfo=UTC).timestamp()
