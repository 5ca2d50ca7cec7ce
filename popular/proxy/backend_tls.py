"""TLS towards backends: whom to believe, what the certificate must be, which one of ours to show, and why it failed.

`BackendsInTls` is made once for each config (it may block: the system's CA certificates are read); of what it has
for a backend, `begin` starts TLS on a connection, and `objection` says after the handshake whether the certificate is
the pinned one.
Contexts are shared: backends that believe the same authorities have the same one, also over changes of the config.
"""

import hashlib
import os
import ssl
from collections.abc import Sequence
from typing import NamedTuple

from popular.net.channel import Channel
from popular.net.make import tls_channel_of
from popular.net.tlschannel import TlsChannel
from popular.proxy.settings.backend import OFF, POP3, Backend
from popular.tls.certificate import Certificate, load_chain
from popular.tls.contexts import ALPN, VERSIONS
from popular.tls.users import certificate_store_of
from supervisor.config import Config
from supervisor.control.words import CommandRefused
from supervisor.serving.eventloop import Watcher


class ContextKey(NamedTuple):
    """What a context is made from: where two are equal, one context serves both."""

    verify: bool
    authorities: str
    """PEM, or "" for those of the system."""
    system: tuple[int, ...]
    """When the system's authorities last changed, if they are meant."""
    least_version: str
    alpn: str
    own: str
    """Fingerprint of the certificate that we show, "" if none."""


class BackendTls:
    """How TLS with one backend is begun and judged.

    A session of before is resumed, which saves a worker 250 of the 400 µs of a handshake. It is never offered under
    another context, name or fingerprint than it was made with, because it stands for that verification.
    """

    __slots__ = ("_session", "context", "further", "name", "pin")

    def __init__(self, context: ssl.SSLContext, names: Sequence[str], pin: str) -> None:
        """`names`: that of its first address, and of each further one."""
        name, *further = names
        self.further: tuple[BackendTls, ...] = tuple(BackendTls(context, [other], pin) for other in further)
        """At its further addresses, each with a session of its own."""
        self.context = context
        self.name = name
        """The name that the certificate must have. It is also the one asked for by SNI, unless it is an address, which
        OpenSSL knows to compare but not to send (RFC 6066 section 3).
        """
        self.pin = pin
        self._session: ssl.SSLSession | None = None

    def is_like(self, other: "BackendTls") -> bool:
        """Whether what one has verified holds for the other."""
        return self._verified() == other._verified()

    def _verified(self) -> tuple[object, ...]:
        return self.context, self.pin, self.name, *(one.name for one in self.further)

    def at_address(self, number: int) -> "BackendTls":
        """At one of its addresses, 0 being the first."""
        return self.further[number - 1] if number else self

    def begin(self, channel: Channel, watcher: Watcher) -> TlsChannel:
        """TLS on this connection, its handshake yet to be done. Takes the connection over."""
        return tls_channel_of(channel, self.context, watcher, server_name=self.name, session=self._session)

    def objection(self, channel: TlsChannel) -> str:
        """What is wrong with the certificate after a handshake that went well: "" if nothing."""
        if not self.pin:
            return ""
        return self.objection_to(channel.about.getpeercert(True))

    def objection_to(self, certificate: bytes | None) -> str:
        """What is wrong with a certificate (DER): "" if nothing."""
        if not self.pin:
            return ""
        found = hashlib.sha256(certificate or b"").hexdigest()
        return "" if found == self.pin else f"the fingerprint of its certificate is {found}, expected {self.pin}"

    def remember(self, channel: TlsChannel) -> None:
        """To be called when the backend has said something in TLS: its tickets come before that (TLS 1.3)."""
        about = channel.about
        if not about.session_reused:
            session = about.session
            self._session = session if session is not None and session.has_ticket else None


class BackendsInTls:
    """What each backend in TLS needs, by id. What stays the same is taken over from the config before."""

    def __init__(self, config: Config, before: "BackendsInTls | None") -> None:
        """Raises CommandRefused where a file of authorities is no good."""
        had = before._contexts if before is not None else {}
        store = certificate_store_of(config)
        certificates = store.certificates if store is not None else {}
        self._contexts: dict[ContextKey, ssl.SSLContext] = {}
        self._by_id: dict[str, BackendTls] = {}
        for backend in config.things["backend"].values():
            if backend.tls != OFF:
                own = certificates[backend.tlscert] if backend.tlscert else None
                key = _context_key(backend, config.variables["tlsminversion"], own)
                context = self._contexts.get(key) or had.get(key) or _context(backend, key, own)
                self._contexts[key] = context
                names = [name.rstrip(".") for name in backend.certified_names] or [""]
                new = BackendTls(context, names, backend.pin)
                old = before._by_id.get(backend.id) if before is not None else None
                self._by_id[backend.id] = old if old is not None and old.is_like(new) else new

    def __getitem__(self, ident: str) -> BackendTls:
        """What this backend needs. Raises KeyError if its `tls` is off."""
        return self._by_id[ident]


def _context_key(backend: Backend, least_version: str, own: Certificate | None) -> ContextKey:
    alpn = ALPN if backend.prot == POP3 else ""  # XPOP has no name with IANA
    fingerprint = own.fingerprint if own is not None else ""
    if not backend.verify:
        return ContextKey(False, "", (), least_version=least_version, alpn=alpn, own=fingerprint)
    system = () if backend.tlsca.pem else _system_stamp()
    return ContextKey(True, backend.tlsca.pem, system, least_version=least_version, alpn=alpn, own=fingerprint)


def _system_stamp() -> tuple[int, ...]:
    paths = ssl.get_default_verify_paths()
    return tuple(os.stat(path).st_mtime_ns for path in (paths.cafile, paths.capath) if path and os.path.exists(path))


def _context(backend: Backend, context_key: ContextKey, own: Certificate | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if own is not None:
        load_chain(context, own.chain, own.key)
    context.minimum_version = VERSIONS[context_key.least_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if context_key.alpn:
        context.set_alpn_protocols([context_key.alpn])
    if not context_key.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif context_key.authorities:
        try:
            context.load_verify_locations(cadata=context_key.authorities)
        except ssl.SSLError as error:
            raise CommandRefused(f"backend {backend.id}: tlsca {backend.tlsca}: {error.reason or error}") from None
    else:
        context.load_default_certs()
    return context


_NAME_MISMATCHES = (62, 63, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, …_EMAIL_…, …_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h."""


def words_of(error: OSError, name: str) -> str:
    """Why a handshake failed, for people. `name`: the name that the certificate must have."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCHES:
            return f"name mismatch: its certificate is not for {name}"
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection during the TLS handshake"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "what it sends is no TLS"
    reason = str(getattr(error, "reason", None) or "")
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        wanted = "REQUIRED" in reason
        about = "wants a certificate of ours (tlscert)" if wanted else "does not accept our certificate"
        return f"it {about}: {reason.replace('_', ' ').lower()}"
    return f"TLS: {str(reason).replace('_', ' ').lower()}" if reason else error.strerror or type(error).__name__
