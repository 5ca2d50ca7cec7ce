"""A certificate with its chain and private key, as the config holds it.

`read_certificate` takes the PEM text apart and checks that the two fit together and that OpenSSL would serve them. It
imports the `cryptography` library when it is called: only the job that reads `tlsdir` does so, never the master or
a worker.
"""

import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from supervisor.control.language.lookups import Unfit

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as X509

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True)
class Certificate:
    """One that can be served. Times are seconds since 1970.

    `names` are host names in lower case, "*.example.org" among them; `key_type` is as "RSA 2048" or "EC P-256".
    """

    name: str
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    """PEM; stays out of every repr, and so out of the log."""
    names: tuple[str, ...]
    key_type: str
    not_before: float
    not_after: float
    serial: int
    fingerprint: str
    """SHA-256, lower-case hexadecimal digits."""

    @property
    def family(self) -> str:
        """RSA, EC, Ed25519 or Ed448: of each, a context can serve one."""
        return self.key_type.partition(" ")[0]

    def is_valid(self, now: float) -> bool:
        """Whether its time has come, and is not over."""
        return not self.invalidity(now)

    def invalidity(self, now: float) -> str:
        """Why it is not valid at this moment; "" if it is."""
        return invalidity(self.not_before, self.not_after, now)


def invalidity(not_before: float, not_after: float, now: float) -> str:
    """Why a certificate with these times is not valid at this moment; "" if it is."""
    if now < not_before:
        return f"not valid before {moment(not_before)}"
    return f"expired on {moment(not_after)}" if now >= not_after else ""


def moment(seconds: float) -> str:
    """A time as people and the log read it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_certificate(name: str, pem: bytes, key_pem: bytes | None) -> Certificate:
    """From the content of NAME.pem and NAME.key; without the second the key is inside the first. Raises Unfit."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    chain = pem_blocks(pem, b"CERTIFICATE")
    if not chain:
        raise Unfit("it holds no certificate")
    keys = pem_blocks(pem if key_pem is None else key_pem, b"PRIVATE KEY")
    if len(keys) != 1:
        where = f"{name}.pem, and there is no {name}.key" if key_pem is None else f"{name}.key"
        raise Unfit(f"{len(keys) or 'no'} private key{'s are' if keys else ' is'} in {where}; allowed: one")
    try:
        leaf = x509.load_pem_x509_certificate(chain[0])
        names = _names(leaf)
    except ValueError:
        raise Unfit("the certificate cannot be read") from None
    certificate = Certificate(
        name,
        chain=b"\n".join(chain) + b"\n",
        key=keys[0] + b"\n",
        names=names,
        key_type=_key_type(leaf, keys[0]),
        not_before=leaf.not_valid_before_utc.timestamp(),
        not_after=leaf.not_valid_after_utc.timestamp(),
        serial=leaf.serial_number,
        fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
    )
    _try(certificate)
    return certificate


def pem_blocks(pem: bytes, label: bytes) -> list[bytes]:
    """The blocks whose label ends so: there are several kinds of PRIVATE KEY."""
    return [match[0] for match in _BLOCK.finditer(pem) if match[1].endswith(label)]


def _names(leaf: "X509") -> tuple[str, ...]:
    """The host names of subjectAltName, or the common name of a certificate that has none (RFC 6125 section 6.4.4)."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names: Sequence[Any]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except x509.ExtensionNotFound:
        names = [attribute.value for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    lower = sorted({str(name).lower() for name in names})
    return tuple(name for name in lower if _DNS_NAME.fullmatch(name))


def _key_type(leaf: "X509", key_pem: bytes) -> str:
    """Which kind of key it is. Raises Unfit if it is not the certificate's, or cannot be used."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    try:
        public = serialization.load_pem_private_key(key_pem, password=None).public_key()
    except TypeError:
        raise Unfit("the private key is encrypted; allowed: one without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unfit("the private key cannot be read") from None
    if public != leaf.public_key():
        raise Unfit("the private key is not the one of the certificate")
    match public:
        case rsa.RSAPublicKey():
            return f"RSA {public.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"EC {_CURVES.get(public.curve.name, public.curve.name)}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
    raise Unfit("a key of this kind cannot be used; allowed: RSA, EC, Ed25519, Ed448")


def load_chain(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Loads PEM text; OpenSSL's interface for Python takes files only, so it gets one that is never on a disk.

    Raises ssl.SSLError.
    """
    memory = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(chain + key)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)


def _try(certificate: Certificate) -> None:
    """OpenSSL has the last word: it refuses keys that are too short, for instance."""
    try:
        load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate.chain, certificate.key)
    except (ssl.SSLError, OSError) as error:
        raise Unfit(f"TLS cannot use it: {getattr(error, 'reason', None) or error}") from None
