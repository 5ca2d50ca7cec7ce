"""Which lists of cipher suites may be said (`tlsciphers`): those of which each gives a client of TLS 1.2 keys that are
forgotten afterwards, a server that it knows, and text that nobody else reads or changes.

That OpenSSL takes a list says little: the suites of TLS 1.3 are always in it.
"""

import ssl
from collections.abc import Collection
from typing import Any

from popular.tls.certificate import Certificate
from supervisor.control.language.lookups import Unfit
from supervisor.control.words import shown

_ALLOWED = "allowed: ECDHE with AESGCM, CHACHA20 or another AEAD, such as ECDHE+AESGCM"
_SIGNATURES = {"RSA": "auth-rsa", "EC": "auth-ecdsa", "Ed25519": "auth-ecdsa", "Ed448": "auth-ecdsa"}
"""By which suites a key is used (RFC 8422 section 5.3), for each family of keys, in OpenSSL's words."""


def suites_of(text: str) -> list[Any]:
    """The suites of TLS 1.2 in a list, as SSLContext.get_ciphers has them. Raises Unfit for one that may not be."""
    if "@" in text:
        raise Unfit(f"{shown(text)} has an @: security levels, and orders by strength, are not taken from here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(text)
    except ssl.SSLError:
        raise Unfit(f"no cipher is in {shown(text)}; {_ALLOWED}") from None
    suites = [suite for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]
    if not suites:
        raise Unfit(f"no cipher of TLS 1.2 is in {shown(text)}; {_ALLOWED}")
    for suite in suites:
        if flaw := _flaw(suite):
            raise Unfit(f"{suite['name']} {flaw}; {_ALLOWED}")
    return suites


def _flaw(suite: Any) -> str:
    """Why a suite may not be in a list; "" if it may."""
    if not suite["strength_bits"]:
        return "encrypts nothing"
    if suite["auth"] not in _SIGNATURES.values():
        return "is for no certificate"
    if suite["kea"] != "kx-ecdhe":
        return "exchanges keys in another way than on elliptic curves"
    return "" if suite["aead"] else "is no AEAD"


def is_usable(suites: Collection[Any], certificates: Collection[Certificate]) -> bool:
    """Whether a client of TLS 1.2 can be shown one of these certificates."""
    signatures = {suite["auth"] for suite in suites}
    return any(_SIGNATURES[one.family] in signatures for one in certificates)
