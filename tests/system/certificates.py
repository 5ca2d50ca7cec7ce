"""Certificates for tests, made in memory: an authority, and leafs of every kind that a rule is about.

    authority = Authority()
    leaf = authority.issue("mail.example.org", "*.example.net", key=RSA)
    leaf.write(tlsdir, "default")                       # default.pem and default.key (mode 0600)
    authority.trusting()                                # an SSLContext of a client that believes this authority only

`Leaf.chain` and `Leaf.key` are PEM; `Leaf.serial` and `Leaf.fingerprint` tell one from another.
"""

import datetime
import functools
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KeyKind = Callable[[], PrivateKey]
DAY = datetime.timedelta(days=1)


def EC() -> PrivateKey:
    """A new key on the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def RSA() -> PrivateKey:
    """A new RSA key of 2048 bits."""
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key."""

    certificate: x509.Certificate
    key_object: PrivateKey

    @property
    def chain(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        return self.key_object.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def serial(self) -> int:
        return self.certificate.serial_number

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as lower-case hexadecimal digits."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def write(self, directory: Path, name: str, mode: int = 0o600) -> Path:
        """Writes NAME.pem and NAME.key, each by a rename, the key first. Gives the path of NAME.pem."""
        _replace(directory / f"{name}.key", self.key, mode)
        _replace(directory / f"{name}.pem", self.chain, 0o644)
        return directory / f"{name}.pem"

    def write_in_one(self, directory: Path, name: str, mode: int = 0o600) -> Path:
        """Writes NAME.pem with the key inside, by a rename."""
        _replace(directory / f"{name}.pem", self.chain + self.key, mode)
        return directory / f"{name}.pem"


def _replace(path: Path, data: bytes, mode: int) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.chmod(mode)
    new.rename(path)


class Authority:
    """A certificate authority of a test."""

    def __init__(self, name: str = "Test authority") -> None:
        self._key = EC()
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = functools.partial(x509.KeyUsage, content_commitment=False, key_encipherment=False, encipher_only=False)
        self.certificate = (
            _builder(self._subject, self._subject, self._key, -DAY, 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                usage(
                    digital_signature=True,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *names: str,
        key: KeyKind = EC,
        days: float = 10,
        begins: float = -1,
        common_name: str = "",
        email: str = "",
        client: bool = False,
        alternatives: bytes = b"",
    ) -> Leaf:
        """A leaf with these DNS names, valid from `begins` to `days` days from now (negative: in the past).

        `common_name` is the first name if it is not given; `email` goes into subjectAltName too; `client` makes it a
        client's certificate. Without names and email it has no subjectAltName. `alternatives` is the DER of one that no
        library would make.
        """
        private = key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or (names[0] if names else "nobody"))])
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(subject, self._subject, private, begins * DAY, days * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(issuer_key, critical=False)
        )
        found: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        found += [x509.RFC822Name(email)] if email else []
        if alternatives:
            odd = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, alternatives)
            builder = builder.add_extension(odd, critical=False)
        elif found:
            builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        return Leaf(builder.sign(self._key, hashes.SHA256()), private)

    def write(self, directory: Path, name: str = "ca.pem") -> Path:
        """Writes the authority's certificate; gives the path."""
        _replace(directory / name, self.pem, 0o644)
        return directory / name

    def trusting(self) -> ssl.SSLContext:
        """The context of a client that believes this authority, and nobody else, and verifies names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pem.decode())
        return context


def self_signed(name: str, *, days: float = 10) -> Leaf:
    """A server's certificate as distributions make one: signed by its own key, and no authority's."""
    key, subject = EC(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key, -DAY, days * DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return Leaf(builder.sign(key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, begins: datetime.timedelta, ends: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
