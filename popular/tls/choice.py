"""Which certificates answer: by the name that the client asked for, or whatever name it is. Pure.

A client is offered every kind of key that there is for the name (RSA for old ones, ECDSA for the others) and OpenSSL
takes the one that it understands; of two of one kind the one that is valid longer is taken, if it is valid already.
"""

from collections.abc import Iterable

from popular.tls.certificate import Certificate

Answer = tuple[Certificate, ...]
"""One certificate for each kind of key, the longest valid ones."""


def by_name(certificates: Iterable[Certificate], now: float) -> dict[str, Answer]:
    """The table for host names, wildcards among them."""
    carriers: dict[str, list[Certificate]] = {}
    for certificate in certificates:
        for name in certificate.names:
            carriers.setdefault(name, []).append(certificate)
    return {name: _best(those, now) for name, those in carriers.items()}


def beside(certificate: Certificate, certificates: Iterable[Certificate], now: float) -> Answer:
    """The certificate and those that have exactly its names."""
    return _best([certificate, *(other for other in certificates if other.names == certificate.names)], now)


def _best(certificates: Iterable[Certificate], now: float) -> Answer:
    best: dict[str, Certificate] = {}
    for one in sorted(certificates, key=lambda one: (one.not_before <= now, one.not_after, one.name)):
        best[one.family] = one
    return tuple(best[family] for family in sorted(best))


def wildcard(name: str) -> str:
    """The name in a certificate that stands for this one and its neighbours (RFC 6125 section 6.4.3)."""
    return f"*.{name.partition('.')[2]}"
